{
  description = "The forced command that makes `ssh deploy@host switch` safe on NixOS";

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

      # What the module renders on a small host, with the real options: no machine is built or started.
      checks = eachSystem (
        pkgs:
        let
          host = lib.nixosSystem {
            modules = [
              self.nixosModules.default
              ./nix/check-host.nix
              { nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system; }
            ];
          };
        in
        {
          inherit (own pkgs) nixgate;
          rendered = host.config.services.nixgate.rendered;
          sudoers = host.config.environment.etc.sudoers.source;
          units = host.config.environment.etc."systemd/system".source;
        }
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

      formatter = eachSystem (pkgs: pkgs.nixfmt);

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
