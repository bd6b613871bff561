# The forms of values in config.toml, as far as Nix can say them; `nixgatectl` reads each of them once more while the system is built.
{ lib }:
let
  inherit (lib) mkOption types;
in
rec {
  name = types.strMatching "[A-Za-z0-9][A-Za-z0-9._-]{0,63}";
  fingerprint = types.strMatching "SHA256:[A-Za-z0-9+/]{43}";
  duration = types.strMatching "([0-9]+ ?[a-z]+ ?)+";
  # Of limits.
  size = types.strMatching "[0-9]+[MG]";
  # Of space.
  bytes = types.strMatching "0|[0-9]+[KMGT]";
  unit = types.strMatching "[A-Za-z0-9:_.@\\-]+[.][a-z]+";
  commit = types.strMatching "[0-9a-f]{40}|[0-9a-f]{64}";
  # A file of the host or a credential of the job. A path of Nix is no string, so nothing is copied into the store.
  secret = types.strMatching "[/$][^[:space:]]+";
  confirm = types.enum [
    "health"
    "required"
  ];
  verbs = types.listOf (
    types.enum [
      "fetch"
      "switch"
      "test"
      "boot"
      "rollback"
      "confirm"
      "cancel"
      "attach"
      "status"
    ]
  );

  option =
    type: default: description:
    mkOption { inherit type default description; };
  # A key that is in the file only where it is given.
  optional = type: option (types.nullOr type) null;
  required = type: description: mkOption { inherit type description; };
  example = value: given: given // { example = value; };

  table =
    description: options:
    mkOption {
      inherit description;
      default = { };
      type = types.submodule { inherit options; };
    };
  tables =
    description: options:
    mkOption {
      inherit description;
      default = [ ];
      type = types.listOf (types.submodule { inherit options; });
    };
}
