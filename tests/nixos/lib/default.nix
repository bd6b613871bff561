# What the tests in virtual machines share: a host with nixgate that boots by systemd-boot, a client that is forge, CI and operator, and
# systems to deploy.
#
# They are for `nix flake check` on a machine with KVM. None was ever run where nixgate is developed, which has no nixpkgs: there
# tests/nixos/vm.rs evaluates them with stand-ins for the test framework and for NixOS, and compiles their scripts.
#
# A candidate is a specialisation of the host, so its store paths are in the machine's image already. Without a network and
# without nixpkgs the machine builds it all the same: see ./candidate.nix.
nixgate:
let
  # The published test keys of nixpkgs: one for whoever deploys and for the read key, one for whoever signs and for the forge itself.
  keysOf = pkgs: import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs;

  hostWith =
    candidates:
    { pkgs, lib, ... }:
    let
      keys = keysOf pkgs;
    in
    {
      imports = [ nixgate ];

      # A boot default can only be read, and a power cut survived, where a boot loader starts the machine.
      virtualisation.useBootLoader = true;
      virtualisation.useEFIBoot = true;
      boot.loader.systemd-boot.enable = true;
      boot.loader.efi.canTouchEfiVariables = true;
      boot.loader.timeout = 0;
      system.switch.enable = true;
      virtualisation.memorySize = 2048;
      virtualisation.diskSize = 8192;
      # The image leaves no room on its root.
      virtualisation.emptyDiskImages = [ 2048 ];
      virtualisation.fileSystems."/var" = {
        device = "/dev/vdb";
        fsType = "ext4";
        autoFormat = true;
      };

      nix.settings.substituters = lib.mkForce [ ];
      system.extraDependencies = import ./tools.nix pkgs;
      environment.etc."read-key" = {
        source = keys.snakeOilPrivateKey;
        mode = "0400";
      };
      # What a health check looks at.
      environment.etc."marker".text = lib.mkDefault "well: as installed\n";

      services.openssh.enable = true;
      users.users.root.openssh.authorizedKeys.keys = [ keys.snakeOilPublicKey ];
      services.nixgate = {
        enable = true;
        keys = [ keys.snakeOilPublicKey ];
        allowedSigners = pkgs.writeText "allowed_signers" ''
          ci namespaces="git,nixgate-manifest" ${keys.snakeOilEd25519PublicKey}
        '';
        knownHosts = pkgs.writeText "known_hosts" ''
          client ${keys.snakeOilEd25519PublicKey}
        '';
        credentials.source = "/etc/read-key";
        settings = {
          source.url = "ssh://git@client/srv/git/infra.git";
          space = {
            store = "0";
            state = "0";
            inodes = 0;
          };
          limits.confirm = "30s";
          check = [
            {
              name = "marker";
              command = [
                "/run/current-system/sw/bin/grep"
                "-q"
                "^well"
                "/etc/marker"
              ];
              retries = 0;
            }
          ];
        };
      };

      specialisation = builtins.mapAttrs (_: configuration: { inherit configuration; }) candidates;
    };

  # The flake of each candidate, by its name.
  flakesOf =
    pkgs: nodes:
    builtins.mapAttrs (
      name: special:
      toString (
        import ./candidate.nix {
          inherit pkgs name;
          toplevel = special.configuration.system.build.toplevel;
        }
      )
    ) nodes.host.specialisation;
in
rec {
  # The two machines, for `nix run .#try` too.
  host = hostWith;
  operator =
    { pkgs, ... }:
    {
      imports = [ (import ./client.nix (keysOf pkgs)) ];
    };
  keys = keysOf;

  # A test: the systems that can be deployed by name, what is special about the host and the client, and what happens.
  test =
    {
      name,
      candidates ? { },
      host ? { },
      client ? { },
      nodes ? { },
      script,
    }:
    { hostPkgs, ... }:
    {
      inherit name;
      nodes = {
        host = {
          imports = [
            (hostWith candidates)
            host
          ];
        };
        client.imports = [
          operator
          client
        ];
      }
      // nodes;
      testScript =
        { nodes, ... }:
        ''
          import json

          flakes = json.loads('${builtins.toJSON (flakesOf hostPkgs nodes)}')
        ''
        + builtins.readFile ./prelude.py
        + script;
    };

  # A system that says of itself what the health check looks for.
  marked = marker: {
    environment.etc."marker".text = marker + "\n";
  };

  # A system whose activation takes its time, so that something can happen meanwhile.
  slow = seconds: {
    environment.etc."marker".text = "well: slow\n";
    systemd.services.slow = {
      description = "Takes its time";
      wantedBy = [ "multi-user.target" ];
      serviceConfig.Type = "oneshot";
      serviceConfig.RemainAfterExit = true;
      script = "sleep ${toString seconds}";
    };
  };
}
