# Account deploy gets the gate and nothing else. What must fail is made first as root, against the same server.
nixgate:
let
  inherit (import ./lib nixgate) test;
in
test {
  name = "nixgate-no-shell-no-sftp-no-forwarding";
  client =
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.netcat ];
    };
  script = ''
    def as_root_but_not_as_deploy(command):
        client.succeed(command.format(who="root@host"))
        client.fail(command.format(who="deploy@host"))

    # A shell, a command, a terminal.
    assert "ask for one of these" in client.execute("ssh deploy@host </dev/null 2>&1")[1]
    for request in ["sh", "'bash -c id'", "'status; id'", "'$(id)'", "internal-sftp", "'scp -t /tmp'"]:
        said = deploy(request, expect=64)["said"]
        assert "uid=" not in said, said
    as_root_but_not_as_deploy("ssh -tt {who} 'test -t 0' </dev/null")

    # Files.
    as_root_but_not_as_deploy("echo 'ls /' | sftp -b - {who}")
    as_root_but_not_as_deploy("scp /etc/hostname {who}:/tmp/copied")
    as_root_but_not_as_deploy("scp -O /etc/hostname {who}:/tmp/copied")

    # Forwarding, each way.
    forward = "ssh -o ExitOnForwardFailure=yes"
    as_root_but_not_as_deploy('test -n "$(timeout 20 ssh -W localhost:22 {who} </dev/null | grep ^SSH-)"')
    as_root_but_not_as_deploy(forward + " -R 2223:localhost:22 {who} true")
    as_root_but_not_as_deploy("eval $(ssh-agent) && " + forward + " -A {who} 'test -S \"$SSH_AUTH_SOCK\"'")
    # In the background with nothing of ours open: the driver waits for the end of its output.
    client.succeed(forward + " -f -L 2224:localhost:22 root@host 'sleep 60' >/dev/null 2>&1")
    client.succeed('test -n "$(nc -w 5 localhost 2224 </dev/null | grep ^SSH-)"')
    client.succeed("ssh -f -N -L 2225:localhost:22 deploy@host >/dev/null 2>&1")
    client.fail('test -n "$(nc -w 5 localhost 2225 </dev/null | grep ^SSH-)"')
    client.succeed("pkill -x ssh")

    # Nothing of a call outlives it, and nobody manages units for the account.
    deploy("status")
    host.wait_until_fails("pgrep -u deploy")
    host.fail("systemctl is-active --quiet user@$(id -u deploy).service")
    host.fail("su -s /bin/sh deploy -c 'sudo -n true'")
    assert stands() == installed
  '';
}
