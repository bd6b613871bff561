# services.nixgate.settings: each key of /etc/nixgate/config.toml, by its name there. tests/module.rs holds them against what the
# parser knows, in both directions, and the defaults against its defaults.
{ config, lib }:
let
  inherit (import ./types.nix { inherit lib; }) option;
in
lib.mkOption {
  default = { };
  description = ''
    `/etc/nixgate/config.toml`, which anybody on the host may read: nothing in it is secret. `nixgatectl` reads it while the system is
    built, and refuses what contradicts itself.
  '';
  type = lib.types.submodule {
    options = {
      version = option (lib.types.enum [ 1 ]) 1 "The version of the file's format.";
    }
    // import ./source.nix { inherit config lib; }
    // import ./access.nix { inherit lib; }
    // import ./host.nix { inherit config lib; }
    // import ./check.nix { inherit lib; };
  };
}
