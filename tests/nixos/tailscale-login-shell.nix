# Through Tailscale SSH the gate is the login shell: no key, no block of sshd, and all the same nothing but the gate. The tailnet is run
# by headscale.
nixgate:
let
  inherit (import ./lib nixgate) marked test;

  certificate =
    pkgs:
    pkgs.runCommand "headscale-certificate" { nativeBuildInputs = [ pkgs.openssl ]; } ''
      openssl req -x509 -newkey rsa:2048 -sha256 -days 3650 -nodes -out cert.pem -keyout key.pem \
        -subj '/CN=headscale' -addext 'subjectAltName=DNS:headscale'
      mkdir "$out"
      cp cert.pem key.pem "$out"
    '';
  peer =
    { pkgs, ... }:
    {
      services.tailscale.enable = true;
      security.pki.certificateFiles = [ "${certificate pkgs}/cert.pem" ];
    };
in
test {
  name = "nixgate-tailscale-login-shell";
  host = {
    imports = [ peer ];
    services.tailscale.extraUpFlags = [ "--ssh" ];
    # Neither meets the login shell; without these the module refuses to build.
    systemd.services.tailscaled.environment = {
      TS_SSH_DISABLE_SFTP = "true";
      TS_SSH_DISABLE_FORWARDING = "true";
      TS_SSH_DISABLE_PTY = "true";
    };
  };
  client.imports = [ peer ];
  nodes.headscale =
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.headscale ];
      networking.firewall.allowedTCPPorts = [ 443 ];
      networking.firewall.allowedUDPPorts = [ 3478 ];
      services.headscale = {
        enable = true;
        port = 8080;
        settings = {
          server_url = "https://headscale";
          dns.magic_dns = false;
          dns.override_local_dns = false;
          derp.server = {
            enabled = true;
            region_id = 999;
            stun_listen_addr = "0.0.0.0:3478";
          };
          derp.urls = [ ];
          policy.path = pkgs.writeText "policy.json" (
            builtins.toJSON {
              acls = [
                {
                  action = "accept";
                  src = [ "*" ];
                  dst = [ "*:*" ];
                }
              ];
              ssh = [
                {
                  action = "accept";
                  src = [ "people@" ];
                  dst = [ "people@" ];
                  users = [ "deploy" ];
                }
              ];
            }
          );
        };
      };
      services.nginx = {
        enable = true;
        virtualHosts.headscale = {
          addSSL = true;
          sslCertificate = "${certificate pkgs}/cert.pem";
          sslCertificateKey = "${certificate pkgs}/key.pem";
          locations."/" = {
            proxyPass = "http://127.0.0.1:8080";
            proxyWebsockets = true;
          };
        };
      };
    };
  candidates.good = marked "well: good";
  script = ''
    headscale.start()
    headscale.wait_for_unit("headscale.service")
    headscale.wait_for_open_port(443)
    headscale.succeed("headscale users create people")
    key = headscale.succeed("headscale preauthkeys create --user 1 --reusable").strip().splitlines()[-1]
    for peer, flags in [(client, ""), (host, "--ssh")]:
        peer.wait_for_unit("tailscaled.service")
        peer.succeed(f"tailscale up --login-server https://headscale --auth-key {key} {flags}")
    address = host.succeed("tailscale ip -4").strip()
    client.wait_until_succeeds(f"tailscale ping {address}")

    def ask(request, code):
        # No key at all: it is the tailnet that knows who asks.
        answer = client.execute(
            f"ssh -F none -o StrictHostKeyChecking=accept-new -o IdentityFile=none deploy@{address} {request} </dev/null 2>&1"
        )
        assert answer[0] == code, (request, answer)
        return answer[1]

    commit("good")
    ask("true", 0)
    assert "profile" in ask("status", 0)
    for request in ["", "sh", "'bash -c id'", "'status; id'", "'sh -c status'"]:
        assert "uid=" not in ask(request, 64)
    assert "result=committed" in ask("switch", 0)
    assert marker() == "well: good"

    options = "-o StrictHostKeyChecking=accept-new -o IdentityFile=none"
    client.fail(f"echo 'ls /' | sftp -F none {options} -b - deploy@{address}")
    client.fail(f"test -n \"$(timeout 20 ssh -F none {options} -W localhost:22 deploy@{address} </dev/null | grep ^SSH-)\"")
    host.wait_until_fails("pgrep -u deploy")
  '';
}
