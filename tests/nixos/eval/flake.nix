# What flake.nix at the top level offers, with stand-ins for its one input: enough of nixpkgs to evaluate its machines and its tests.
{
  nixpkgs ? null,
}:
let
  base = if nixpkgs == null then import ./lib.nix else import (nixpkgs + "/lib");
  lib = base // {
    # nixpkgs flake.nix: nixosSystem. What assertions say against, and scripts that cannot be made, are errors.
    nixosSystem =
      { modules }:
      let
        with' =
          more:
          base.evalModules {
            specialArgs.pkgs = pkgs "x86_64-linux";
            modules = [
              ./stand-ins.nix
              ./vm-stand-ins.nix
              # nixos/modules/security/sudo.nix, nixos/modules/system/boot/systemd.nix
              {
                environment.etc.sudoers.source = "/nix/store/sudoers";
                environment.etc."systemd/system".source = "/nix/store/units";
              }
            ]
            ++ modules
            ++ more;
          };
        # A specialisation is evaluated where it is asked for.
        special =
          _: one:
          base.mkForce
            (with' [
              one.configuration
              { specialisation = base.mkForce { }; }
            ]).config;
        system = with' [
          {
            specialisation = builtins.mapAttrs (name: one: {
              configuration = special name one;
            }) (with' [ ]).config.specialisation;
          }
        ];
        failed = builtins.filter (one: !one.assertion) system.config.assertions;
        scripts = map (service: service.script) (builtins.attrValues system.config.systemd.services);
      in
      if failed == [ ] then builtins.deepSeq scripts system else throw (builtins.head failed).message;
  };
  pkgs =
    system:
    import ./pkgs.nix {
      inherit lib;
      root = "/nix/store";
    }
    // {
      stdenv.hostPlatform.system = system;
      # nixpkgs pkgs/build-support/testers/default.nix: takes a module of the test framework
      testers.runNixOSTest = test: (test { hostPkgs = pkgs system; }).name;
    };
  self = outputs // {
    outPath = ../../..;
  };
  flake = import ../../../flake.nix;
  outputs = flake.outputs {
    inherit self;
    nixpkgs = {
      inherit lib;
      outPath = ./nixpkgs;
      legacyPackages = base.genAttrs [ "x86_64-linux" "aarch64-linux" ] pkgs;
    };
  };
  inherit (outputs) checks apps;
in
{
  inputs = builtins.attrNames flake.inputs;
  outputs = builtins.mapAttrs (_: builtins.attrNames) (
    removeAttrs outputs [
      "formatter"
      "overlays"
    ]
  );
  checks = builtins.mapAttrs (
    _: builtins.mapAttrs (name: check: if builtins.isString check then check else toString check)
  ) checks;
  apps = builtins.mapAttrs (_: builtins.mapAttrs (_: app: app.program)) apps;
  overlay = toString (outputs.overlays.default (pkgs "x86_64-linux") { }).nixgate;
}
