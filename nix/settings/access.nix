# [[access]] and [[role]]: who may ask for what, and when.
{ lib }:
let
  inherit (import ./types.nix { inherit lib; })
    confirm
    example
    fingerprint
    name
    option
    optional
    required
    tables
    verbs
    ;
  inherit (lib) mkOption types;

  windows = example [ "Mon..Fri 08:00-18:00 UTC" ] (
    optional (types.listOf types.singleLineStr) "When `fetch`, `switch`, `test` and `boot` may be asked for; null is always."
  );
  confirms = optional confirm "Whether trials of theirs have to be confirmed; null is as `confirm` says.";
in
{
  access = mkOption {
    default = null;
    description = "Who may ask for what. Null: every key that sshd accepts may do all but choose a generation. A list: a key without a table may do nothing.";
    example = [
      {
        name = "ci";
        key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        verbs = [
          "fetch"
          "switch"
        ];
      }
    ];
    type = types.nullOr (
      types.listOf (
        types.submodule {
          options = {
            name = required name "How records and answers call them.";
            key = optional fingerprint "A key, as `ssh-keygen -lf KEY.pub` prints it. Each table has either this, or `authority` and `principal`, or `tailscale`.";
            authority = optional fingerprint "The authority that signed a certificate, as `ssh-keygen -lf CA.pub` prints it.";
            principal = example "deployers" (
              optional types.singleLineStr "A principal that the certificate names."
            );
            tailscale = example "alice@example.org" (
              optional types.singleLineStr "A user's login name of the tailnet, or a tag, as in `tag:ci`; for Tailscale SSH (docs/tailscale.md)."
            );
            role = optional name "The `role` whose rights they have, instead of `verbs`, `generation`, `confirm` and `windows` of their own.";
            verbs = optional verbs "What they may ask for.";
            generation = optional types.bool "Whether they may say `rollback GENERATION`.";
            confirm = confirms;
            inherit windows;
          };
        }
      )
    );
  };

  role = tables "Rights that several `access` tables share." {
    name = required name "What `access` tables call it.";
    verbs = required verbs "What may be asked for.";
    generation = option types.bool false "Whether `rollback GENERATION` may be said.";
    confirm = confirms;
    inherit windows;
  };
}
