# The machine of `nix run .#try`: a host with nixgate and, in the same machine, a forge with a commit to deploy. It needs no network and
# no repository of yours. Its keys are the published test keys of nixpkgs, so its port is forwarded from the loopback alone.
nixgate:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  machines = import ../tests/nixos/lib nixgate;
  next = import ../tests/nixos/lib/candidate.nix {
    inherit pkgs;
    name = "next";
    inherit (config.specialisation.next.configuration.system.build) toplevel;
  };
in
{
  imports = [
    (machines.host { next = machines.marked "well: the next system"; })
    machines.operator
  ];
  networking.hostName = "host";
  # The forge goes by the name that its tests give it.
  networking.hosts."127.0.0.1" = [ "client" ];
  system.stateVersion = lib.trivial.release;
  virtualisation.graphics = false;
  virtualisation.forwardPorts = [
    {
      from = "host";
      host.address = "127.0.0.1";
      host.port = 2222;
      guest.port = 22;
    }
  ];

  # A specialisation has none itself.
  systemd.services.try-repository = lib.mkIf (config.specialisation ? next) {
    description = "Makes the repository and a commit to deploy";
    wantedBy = [ "multi-user.target" ];
    after = [ "sshd.service" ];
    path = [ "/run/current-system/sw" ];
    serviceConfig.Type = "oneshot";
    serviceConfig.RemainAfterExit = true;
    environment.HOME = "/root";
    unitConfig.ConditionPathExists = "!/root/infra";
    script = ''
      nixgatectl anchor --set "$(infra-commit /dev/null)"
      infra-commit ${next}
    '';
  };
}
