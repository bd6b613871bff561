# [health], [units] and [[check]]: what has to be well.
{ lib }:
let
  inherit (import ./types.nix { inherit lib; })
    duration
    example
    name
    option
    optional
    required
    table
    tables
    unit
    ;
  inherit (lib) mkOption types;
in
{
  health = table "What nixgate looks at by itself." {
    source =
      option types.bool true
        "Whether the repository has to be in reach of the new system, as every later deploy needs it.";
    settle =
      option duration "3s"
        "How long services that were started are watched, at least; `0s`: they are looked at once.";
  };

  units = mkOption {
    default = { };
    example = {
      "backup-*.service" = "warn";
    };
    description = "What a unit that newly fails or keeps dying means. `*` stands for any text, and the full name wins; those that are not named revert.";
    type = types.attrsOf (
      types.enum [
        "revert"
        "warn"
        "ignore"
      ]
    );
  };

  check =
    tables
      "What else must be well for a trial to become permanent. Each has exactly one of `command`, `unit`, `tcp` and `http`."
      {
        name = example "web" (required name "How the answer calls it.");
        command =
          example
            [
              "/run/current-system/sw/bin/check-replication"
              "--max-lag"
              "10"
            ]
            (
              optional (types.listOf types.str) "A program by its absolute path, and its arguments; exit 0 is well. It runs as account nixgate, without any privilege."
            );
        unit = example "rabbitmq.service" (optional unit "A unit that is active.");
        tcp = example "127.0.0.1:5432" (
          optional (types.strMatching ".+:[0-9]+") "An address that accepts a connection."
        );
        http = example "http://127.0.0.1/health" (
          optional (types.strMatching "https?://.+") "An address that answers with `status`, and with `body` in it."
        );
        status = optional (types.ints.between 100 599) "Of `http`; null is 200.";
        body = example "^ok" (
          optional types.str "Of `http`: a regular expression that must occur in the answer, line by line."
        );
        timeout = option duration "10s" "The most that one try may take.";
        retries = option (types.ints.between 0 255) 2 "How often a try that failed is made again.";
        interval = option duration "1s" "The time between two tries.";
        when = option (types.enum [
          "trial"
          "before"
        ]) "trial" "`before`: a command that judges the candidate before anything changes.";
      };
}
