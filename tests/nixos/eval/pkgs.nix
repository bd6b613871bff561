# What nixos-module.nix takes from `pkgs`. Nothing is built: a derivation is a set with what it would be built from.
# tests/module.rs runs the scripts. `formats.toml`: nixpkgs pkgs/pkgs-lib/formats.nix.
{ lib, root }:
let
  derivation =
    name: set:
    set
    // {
      type = "derivation";
      inherit name;
      pname = name;
      outPath = "${root}/${name}";
    };
  program = name: version: derivation name { inherit version; };

  # A table is written inline, so one expression is enough for every value.
  value =
    v:
    if builtins.isAttrs v then
      "{ ${
        builtins.concatStringsSep ", " (lib.mapAttrsToList (k: x: "${builtins.toJSON k} = ${value x}") v)
      } }"
    else if builtins.isList v then
      "[ ${lib.concatMapStringsSep ", " value v} ]"
    else
      builtins.toJSON v;
  known = v: builtins.isBool v || builtins.isInt v || builtins.isFloat v || builtins.isString v;
  good =
    v:
    if builtins.isAttrs v then
      builtins.all good (builtins.attrValues v)
    else if builtins.isList v then
      builtins.all good v
    else
      known v;
  anything = lib.types.anything;
in
rec {
  nixgate = program "nixgate" "0.1.0" // {
    client = program "nixgate-client" "0.1.0";
    others = program "nixgate-host" "0.1.0";
  };
  curl = program "curl" "8.17.0";
  git = program "git" "2.51.0";
  gnugrep = program "gnugrep" "3.12";
  util-linux = program "util-linux" "2.41";
  openssh = program "openssh" "10.2p1";
  sudo = program "sudo" "1.9.17p2";
  sudo-rs = program "sudo-rs" "0.2.8";
  # For the tests in virtual machines.
  path = ./nixpkgs;
  stdenv.hostPlatform.system = "x86_64-linux";
  bash = program "bash" "5.3";
  coreutils = program "coreutils" "9.8";
  findutils = program "findutils" "4.10";
  gnused = program "gnused" "4.9";
  headscale = program "headscale" "0.28";
  iproute2 = program "iproute2" "6.17";
  netcat = program "netcat" "1.229";
  openssl = program "openssl" "3.6";
  symlinkJoin = { name, paths }: derivation name { inherit paths; };
  writeShellApplication =
    { name, text, ... }: builtins.seq (builtins.stringLength text) (derivation name { inherit text; });
  writeShellScriptBin = name: text: derivation name { inherit text; };
  callPackage = file: _: builtins.seq (import file) nixgate;
  buildPackages = {
    inherit openssh sudo sudo-rs;
  };
  # What a text names has to be there.
  writeText =
    name: text: builtins.seq (builtins.stringLength text) (derivation name { inherit text; });
  runCommand =
    name: environment: script:
    derivation name { inherit environment script; };
  formats.toml = _: {
    type = anything // {
      merge =
        where: values:
        let
          merged = anything.merge where values;
        in
        if good merged then
          merged
        else
          throw "option ${
            lib.concatMapStringsSep "." (word: word) where
          } has a value that TOML does not know";
    };
    generate =
      name: set:
      derivation name {
        text = lib.concatMapStringsSep "" (key: "${key} = ${value set.${key}}\n") (builtins.attrNames set);
      };
  };
}
