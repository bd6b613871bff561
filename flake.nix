{
  description = "The forced command that makes `ssh deploy@host switch` safe on NixOS";

  # The only input. There is no lock file in this repository: it could not be made where nixgate is developed, so `nix` makes one, or
  # takes that of whoever imports this flake.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      eachSystem =
        f:
        lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: f nixpkgs.legacyPackages.${system});
      own = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system};
      hostOf =
        pkgs: modules:
        lib.nixosSystem {
          modules = modules ++ [ { nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system; } ];
        };

      # One promise per file.
      tests = builtins.filter (name: lib.hasSuffix ".nix" name) (
        builtins.attrNames (builtins.readDir ./tests/nixos)
      );
      testsOf =
        pkgs:
        builtins.listToAttrs (
          map (file: {
            name = "vm-${lib.removeSuffix ".nix" file}";
            value = pkgs.testers.runNixOSTest (import (./tests/nixos + "/${file}") self.nixosModules.default);
          }) tests
        );
    in
    {
      packages = eachSystem (
        pkgs:
        let
          nixgate = pkgs.callPackage ./nix/package.nix { };
        in
        {
          inherit nixgate;
          default = nixgate;
        }
      );

      overlays.default = final: _: { nixgate = final.callPackage ./nix/package.nix { }; };

      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./nixos-module.nix ];
          services.nixgate.package = lib.mkDefault (own pkgs).nixgate;
        };

      # `nix run .#try`: a machine with nixgate, a repository and a key. `nix run .#deploy -- HOST VERB [COMMIT]`: the client.
      apps = eachSystem (
        pkgs:
        let
          machine = hostOf pkgs [
            (nixpkgs + "/nixos/modules/virtualisation/qemu-vm.nix")
            (import ./nix/try-host.nix self.nixosModules.default)
          ];
          try = import ./nix/try.nix {
            inherit lib pkgs;
            inherit (machine.config.system.build) vm;
            key = (import (nixpkgs + "/nixos/tests/ssh-keys.nix") pkgs).snakeOilPrivateKey;
          };
          app = package: name: description: {
            type = "app";
            program = "${package}/bin/${name}";
            meta = { inherit description; };
          };
        in
        {
          try = app try "nixgate-try" "Boots a machine with nixgate, a repository and a key";
          deploy =
            app (own pkgs).nixgate.client "nixgate-deploy"
              "Asks a host for a deploy and stays with it: HOST VERB [COMMIT]";
        }
      );

      # What the module renders on a small host, and the tests in virtual machines, which need KVM.
      checks = eachSystem (
        pkgs:
        let
          host = hostOf pkgs [
            self.nixosModules.default
            ./nix/check-host.nix
          ];
        in
        {
          inherit (own pkgs) nixgate;
          rendered = host.config.services.nixgate.rendered;
          sudoers = host.config.environment.etc.sudoers.source;
          units = host.config.environment.etc."systemd/system".source;
        }
        // testsOf pkgs
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (own pkgs).nixgate.others ];
          packages = with pkgs; [
            cargo
            clippy
            git
            nixfmt
            openssh
            rustc
            rustfmt
            shellcheck
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      templates = {
        single-host = {
          path = ./templates/single-host;
          description = "A host that fetches, verifies, evaluates and builds its own systems";
        };
        prebuilt = {
          path = ./templates/prebuilt;
          description = "A host that takes systems from a binary cache, by signed manifests";
        };
        default = self.templates.single-host;
      };
    };
}
