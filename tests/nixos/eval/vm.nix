# What a test of tests/nixos comes to. Stands for the test framework of nixpkgs (nixos/lib/testing: name.nix, nodes.nix, testScript.nix),
# of which the tests use `name`, `nodes` and `testScript`, and of a node's arguments `nodes`.
{
  test,
  nixpkgs ? null,
}:
let
  lib = if nixpkgs == null then import ./lib.nix else import (nixpkgs + "/lib");
  pkgs = import ./pkgs.nix {
    inherit lib;
    root = "/nix/store";
  };
  nixgate = import ../../../nixos-module.nix;
  body = import test nixgate { hostPkgs = pkgs; };

  machine =
    name: modules:
    (lib.evalModules {
      specialArgs = { inherit pkgs nodes; };
      modules = [
        ./stand-ins.nix
        ./vm-stand-ins.nix
        (pkgs.path + "/nixos/modules/virtualisation/qemu-vm.nix")
        { networking.hostName = lib.mkDefault name; }
      ]
      ++ modules;
    }).config;
  # As inheritParentConfig does: the system itself, and more of it.
  special =
    name: node: module:
    machine name [
      node
      module
      { specialisation = lib.mkForce { }; }
    ];
  nodes = builtins.mapAttrs (
    name: node:
    let
      config = machine name [ node ];
    in
    config
    // {
      specialisation = builtins.mapAttrs (_: one: {
        configuration = special name node one.configuration;
      }) config.specialisation;
    }
  ) body.nodes;

  systems = lib.concatMap (
    node: [ node ] ++ map (one: one.configuration) (builtins.attrValues node.specialisation)
  ) (builtins.attrValues nodes);
  candidates = builtins.mapAttrs (_: one: one.configuration) nodes.host.specialisation;
in
assert
  builtins.attrNames body == [
    "name"
    "nodes"
    "testScript"
  ];
{
  inherit (body) name;
  machines = builtins.attrNames nodes;
  script = body.testScript { inherit nodes; };
  failed = lib.concatMap (
    system: map (one: one.message) (builtins.filter (one: !one.assertion) system.assertions)
  ) systems;
  # So that all of it is looked at.
  units = map (system: builtins.attrNames system.systemd.services) systems;
  markers = builtins.mapAttrs (_: system: system.environment.etc.marker.text) candidates;
  toplevels = builtins.mapAttrs (_: system: toString system.system.build.toplevel) candidates;
  flakes = builtins.mapAttrs (
    name: system:
    (import ../lib/candidate.nix {
      inherit pkgs name;
      inherit (system.system.build) toplevel;
    }).text
  ) candidates;
}
