# The options of services.nixgate. docs/nixos.md is the page about them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
in
{
  options.services.nixgate = {
    enable = lib.mkEnableOption "nixgate, the forced command for deploys of this host";

    package = mkOption {
      type = types.package;
      default = pkgs.nixgate;
      defaultText = lib.literalExpression "pkgs.nixgate";
      description = "The package with `nixgate`, `nixgate-job` and `nixgatectl`.";
    };

    settings = import ./settings { inherit config lib; };

    keys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      example = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrdRTdFh8nf7t9ZvYUSkEQr4+D5HEW5ZMsGLvGsrOul ci" ];
      description = "Public keys that may ask for deploys; sshd accepts them for account `deploy`.";
    };

    authorities = mkOption {
      default = [ ];
      description = "Certificate authorities whose certificates sshd accepts for account `deploy`.";
      type = types.listOf (
        types.submodule {
          options = {
            key = mkOption {
              type = types.singleLineStr;
              description = "The public key of the authority.";
            };
            principals = mkOption {
              type = types.listOf (types.strMatching "[A-Za-z0-9@._+-]+");
              example = [ "deployers" ];
              description = "A certificate has to carry one of them.";
            };
          };
        }
      );
    };

    allowedSigners = mkOption {
      type = types.path;
      example = lib.literalExpression "./allowed_signers";
      description = ''Who may sign, in the form of ssh-keygen: lines of `NAME namespaces="git" ssh-ed25519 AAAA…`.'';
    };

    revoked = mkOption {
      type = types.path;
      default = pkgs.writeText "nixgate-revoked" "";
      defaultText = lib.literalMD "an empty file";
      example = lib.literalExpression "./revoked";
      description = "Keys that may no longer sign: one public key a line, or what `ssh-keygen -k` makes.";
    };

    knownHosts = mkOption {
      type = types.path;
      example = lib.literalExpression "./known_hosts";
      description = "The host keys of the forge and of private inputs. Compare them with what the forge publishes.";
    };

    credentials = mkOption {
      type = types.attrsOf (types.strMatching "/[^[:space:]%]+");
      default = { };
      example = {
        source = "/run/secrets/nixgate-source";
      };
      description = ''
        systemd credentials of the job: a name, and the file on the host that PID 1 reads it from. `source` is the repository's read
        key; another one is named in `settings` as `$CREDENTIALS_DIRECTORY/NAME`.
      '';
    };

    freeze = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      example = "no deploys over the holidays";
      description = ''
        While the running system has this, `switch`, `test` and `boot` are refused with it as the reason. A system without it has to be
        deployed by an administrator, or after root has removed `/etc/nixgate/freeze`; `rollback` goes on working.
      '';
    };

    uid = mkOption {
      type = types.ints.between 1 999;
      default = 397;
      description = ''
        The number of account `deploy`. It is fixed because the user manager that a login would start is masked by it. NixOS gives numbers
        from 400 on by itself, and its own fixed ones end at 328. An account `deploy` that is there already keeps the number that it has:
        then name that one.
      '';
    };

    pull = {
      enable = lib.mkEnableOption "a timer that asks for a deploy, with all that a request over ssh goes through";
      interval = mkOption {
        type = types.singleLineStr;
        default = "hourly";
        example = "*:0/15";
        description = "When it asks; see systemd.time(7), OnCalendar.";
      };
      randomizedDelay = mkOption {
        type = types.singleLineStr;
        default = "5min";
        description = "By up to how much each time is put off, so that a fleet does not ask its forge at once.";
      };
      verb = mkOption {
        type = types.enum [
          "fetch"
          "switch"
          "boot"
        ];
        default = "switch";
        description = "What it asks for. A commit that failed on this host is left alone until somebody asks for it explicitly.";
      };
    };
  };
}
