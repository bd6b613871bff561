# The forge, the CI and the operator in one machine. `infra-commit FLAKE` makes a signed commit with this flake and pushes it; it prints
# the commit's id.
keys:
{ pkgs, ... }:
{
  services.openssh = {
    enable = true;
    # The key that the host knows the forge by.
    hostKeys = [
      {
        type = "ed25519";
        path = "/etc/ssh/forge_key";
      }
    ];
  };
  environment.etc = {
    "ssh/forge_key" = {
      source = keys.snakeOilEd25519PrivateKey;
      mode = "0400";
    };
    "signing-key" = {
      source = keys.snakeOilEd25519PrivateKey;
      mode = "0400";
    };
    "ci-key" = {
      source = keys.snakeOilPrivateKey;
      mode = "0400";
    };
  };
  programs.ssh.extraConfig = ''
    Host host
      IdentityFile /etc/ci-key
      ControlPath none
      StrictHostKeyChecking accept-new
      ServerAliveInterval 5
      ServerAliveCountMax 3
  '';

  users.groups.git = { };
  users.users.git = {
    isSystemUser = true;
    group = "git";
    home = "/srv/git";
    createHome = true;
    shell = "${pkgs.git}/bin/git-shell";
    openssh.authorizedKeys.keys = [ keys.snakeOilPublicKey ];
  };
  programs.git = {
    enable = true;
    config = {
      user.name = "ci";
      user.email = "ci@example.org";
      user.signingKey = "/etc/signing-key";
      gpg.format = "ssh";
      init.defaultBranch = "main";
      safe.directory = "*";
    };
  };
  environment.systemPackages = [
    (pkgs.writeShellScriptBin "infra-commit" ''
      set -euo pipefail
      if ! [ -e /root/infra ]; then
        git init --quiet --bare /srv/git/infra.git
        git init --quiet /root/infra
        git -C /root/infra remote add origin /srv/git/infra.git
        printf '{"nodes":{"root":{}},"root":"root","version":7}\n' >/root/infra/flake.lock
      fi
      cd /root/infra
      install -m 0644 "$1" flake.nix
      git add --all
      git commit --quiet --allow-empty -S -m "$(basename "$1")"
      git push --quiet origin HEAD:main
      chown -R git:git /srv/git
      git rev-parse HEAD
    '')
  ];
}
