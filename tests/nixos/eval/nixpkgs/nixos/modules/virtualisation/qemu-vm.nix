# Stands for nixpkgs nixos/modules/virtualisation/qemu-vm.nix, by the options that are used here; diskSize: disk-size-option.nix beside it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  bool = option types.bool;
  submodules =
    of: options:
    mkOption {
      default = of.default;
      type = of.type (types.submodule { inherit options; });
    };
  list = {
    default = [ ];
    type = types.listOf;
  };
  set = {
    default = { };
    type = types.attrsOf;
  };
in
{
  options.virtualisation = {
    useBootLoader = bool false;
    useEFIBoot = bool false;
    graphics = bool true;
    memorySize = option types.ints.positive 1024;
    diskSize = option types.ints.positive 1024;
    emptyDiskImages = option (types.listOf types.ints.positive) [ ];
    additionalPaths = option (types.listOf types.path) [ ];
    # nixos/modules/tasks/filesystems.nix
    fileSystems = submodules set {
      device = option (types.nullOr types.str) null;
      fsType = option types.str "auto";
      autoFormat = bool false;
    };
    forwardPorts = submodules list {
      from = option (types.enum [
        "host"
        "guest"
      ]) "host";
      host.address = option types.str "";
      host.port = mkOption { type = types.port; };
      guest.port = mkOption { type = types.port; };
    };
  };
  options.system.build.vm = option types.package (
    pkgs.writeText "run-${config.networking.hostName}-vm" ""
  );
}
