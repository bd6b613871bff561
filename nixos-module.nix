# services.nixgate: the whole of a host, from one set of options. docs/nixos.md is the page about it.
#
# What root and sshd obey is not written here: `nixgatectl render` writes it at build time, and visudo and sshd read it before
# it is part of a system. Evaluation imports nothing that was built.
#
# Programs are named by their stable paths, as in the rendered files: the rules hold on both sides of an upgrade.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nixgate;
  toml = pkgs.formats.toml { };
  inherit (lib)
    mkDefault
    mkForce
    mkIf
    mkMerge
    mkOption
    mkOrder
    optional
    optionalAttrs
    types
    ;

  gate = "/run/current-system/sw/bin/nixgate";

  # A key that is null is not in the file.
  settings = lib.filterAttrsRecursive (_: value: value != null) cfg.settings;
  configFile = toml.generate "nixgate-config.toml" settings;

  # A drop-in goes by the name of the template that the socket starts.
  credentials = lib.mapAttrsToList (name: path: "LoadCredential=${name}:${path}") cfg.credentials;
  dropIn = lib.optionalString (credentials != [ ]) ''
    mkdir "$out/etc/systemd/system/nixgate@.service.d"
    printf '%s\n' '[Service]' ${lib.escapeShellArgs credentials} \
      > "$out/etc/systemd/system/nixgate@.service.d/credentials.conf"
  '';

  rendered =
    pkgs.runCommand "nixgate-rendered"
      {
        nativeBuildInputs = [
          cfg.package
          pkgs.buildPackages.openssh
          pkgs.buildPackages.sudo
        ];
        preferLocalBuild = true;
      }
      ''
        nixgatectl render --config ${configFile} --platform nixos --root "$out"
        # The accounts are users.users' here, and NixOS reads tmpfiles of packages below lib.
        rm -r "$out/etc/sysusers.d"
        mkdir "$out/lib"
        mv "$out/etc/tmpfiles.d" "$out/lib/tmpfiles.d"
        ${dropIn}
        visudo -c -s -f "$out/etc/sudoers.d/nixgate"
        ssh-keygen -q -t ed25519 -N "" -f host-key
        sshd -t -f "$out/etc/ssh/sshd_config.d/nixgate.conf" -h "$PWD/host-key"
        rm host-key host-key.pub
      '';
  sudoers = "${rendered}/etc/sudoers.d/nixgate";

  authority =
    { key, principals }: ''cert-authority,principals="${lib.concatStringsSep "," principals}" ${key}'';
in
{
  imports = [ ./nix/assertions.nix ];

  options.services.nixgate = {
    enable = lib.mkEnableOption "nixgate, the forced command for deploys of this host";

    package = mkOption {
      type = types.package;
      default = pkgs.nixgate;
      defaultText = lib.literalExpression "pkgs.nixgate";
      description = "The package with `nixgate`, `nixgate-job` and `nixgatectl`.";
    };

    settings = mkOption {
      default = { };
      description = ''
        `/etc/nixgate/config.toml`. `nixgatectl example` prints every key with its default and what it means; keys that have no
        option here are taken as they are, and `nixgatectl` refuses an unknown one while the system is built. Nothing in it is secret.
      '';
      type = types.submodule {
        freeformType = toml.type;
        options = {
          version = mkOption {
            type = types.enum [ 1 ];
            default = 1;
            description = "The version of the file's format.";
          };
          source = mkOption {
            default = { };
            description = "Where systems come from.";
            type = types.submodule {
              freeformType = toml.type;
              options = {
                kind = mkOption {
                  type = types.enum [
                    "flake"
                    "nix"
                    "prebuilt"
                  ];
                  default = "flake";
                  description = "Whether the host evaluates a flake or a file of Nix, or takes what CI built by signed manifests.";
                };
                url = mkOption {
                  type = types.strMatching "(ssh|https)://.+";
                  example = "ssh://git@forge.example.org/infra.git";
                  description = "The repository.";
                };
                system = mkOption {
                  type = types.str;
                  default = config.networking.hostName;
                  defaultText = lib.literalExpression "config.networking.hostName";
                  description = "The name of this host in the repository: `nixosConfigurations.NAME`.";
                };
                ssh-key = mkOption {
                  type = types.nullOr types.str;
                  default = if cfg.credentials ? source then "$CREDENTIALS_DIRECTORY/source" else null;
                  defaultText = lib.literalMD "the credential `source` if there is one, else nixgate's default, `/var/lib/nixgate/keys/source`";
                  description = "Where the repository's read key is on the host: a file of account nixgate with mode 0600. It never belongs into the store.";
                };
              };
            };
          };
          trust = mkOption {
            default = { };
            description = "What makes a commit trusted.";
            type = types.submodule {
              freeformType = toml.type;
              options = {
                signatures = mkOption {
                  type = types.enum [
                    "tip"
                    "every-commit"
                    "none"
                  ];
                  default = "tip";
                  description = "Which commits have to be signed. With `none`, whoever may push is root on this host.";
                };
                first-commit = mkOption {
                  type = types.nullOr (types.strMatching "[0-9a-f]{40}|[0-9a-f]{64}");
                  default = null;
                  description = "What the first deploy has to descend from, on a host whose system names no commit.";
                };
              };
            };
          };
          access = mkOption {
            type = types.nullOr (types.listOf toml.type);
            default = null;
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
            description = "Who may ask for what. Null: every key that sshd accepts may do all but choose a generation. A list: a key without a table may do nothing.";
          };
          confirm = mkOption {
            default = { };
            description = "When a trial becomes permanent.";
            type = types.submodule {
              freeformType = toml.type;
              options.mode = mkOption {
                type = types.enum [
                  "health"
                  "required"
                ];
                default = "health";
                description = "`health`: with good health. `required`: somebody also has to say `confirm` over a new connection.";
              };
            };
          };
          specialisation = mkOption {
            default = { };
            description = "Which specialisations outlast a deploy.";
            type = types.submodule {
              freeformType = toml.type;
              options.keep = mkOption {
                type = types.listOf (types.strMatching "[A-Za-z0-9][A-Za-z0-9._-]{0,63}");
                default = [ ];
                example = [ "gui" ];
                description = ''
                  Names of `specialisation`. One that is active stays so through `switch`, `test` and `rollback`: the candidate's own of
                  that name is activated. Any other ends with the deploy.
                '';
              };
            };
          };
          boot = mkOption {
            default = { };
            description = "How the boot default is read.";
            type = types.submodule {
              freeformType = toml.type;
              options.loader = mkOption {
                type = types.enum [
                  "systemd-boot"
                  "grub"
                  "none"
                ];
                default =
                  if config.boot.loader.systemd-boot.enable then
                    "systemd-boot"
                  else if config.boot.loader.grub.enable then
                    "grub"
                  else
                    "none";
                defaultText = lib.literalMD "what `boot.loader` has";
                description = "The boot loader.";
              };
            };
          };
          sshd = mkOption {
            default = { };
            description = "The server that has to be well for a trial to become permanent.";
            type = types.submodule {
              freeformType = toml.type;
              options = {
                unit = mkOption {
                  type = types.str;
                  default = if config.services.openssh.startWhenNeeded then "sshd.socket" else "sshd.service";
                  defaultText = lib.literalMD "`sshd.service`, or `sshd.socket` with `services.openssh.startWhenNeeded`";
                  description = "Its unit.";
                };
                port = mkOption {
                  type = types.port;
                  default = builtins.head (config.services.openssh.ports ++ [ 22 ]);
                  defaultText = lib.literalMD "the first of `services.openssh.ports`";
                  description = "A port that it listens on.";
                };
              };
            };
          };
        };
      };
    };

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
      description = "The number of account `deploy`. It is fixed because the user manager that a login would start is masked by it.";
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

    rendered = mkOption {
      type = types.package;
      readOnly = true;
      internal = true;
      default = rendered;
      description = "What `nixgatectl render` made of the settings.";
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      environment.systemPackages = [
        cfg.package
        pkgs.git
      ];
      environment.etc = {
        "nixgate/config.toml".source = configFile;
        "nixgate/allowed_signers".source = cfg.allowedSigners;
        "nixgate/revoked".source = cfg.revoked;
        "nixgate/known_hosts".source = cfg.knownHosts;
      }
      // optionalAttrs (cfg.freeze != null) { "nixgate/freeze".text = cfg.freeze + "\n"; };

      # A build that could leave its sandbox could change the host: nixgate builds nothing where that may happen.
      nix.settings.sandbox-fallback = mkDefault false;

      users.groups.deploy = { };
      users.groups.nixgate = { };
      users.users.deploy = {
        inherit (cfg) uid;
        description = "Asks nixgate for deploys";
        isSystemUser = true;
        group = "deploy";
        home = "/var/empty";
        shell = gate;
        hashedPassword = "!";
        openssh.authorizedKeys.keys = cfg.keys ++ map authority cfg.authorities;
      };
      users.users.nixgate = {
        description = "Does the deploys of nixgate";
        isSystemUser = true;
        group = "nixgate";
        home = "/var/lib/nixgate";
        hashedPassword = "!";
      };

      systemd.packages = [ rendered ];
      systemd.tmpfiles.packages = [ rendered ];
      # NixOS does not look at [Install]. The options of systemd.services and systemd.sockets would add an environment; this adds
      # an empty drop-in, and the links in *.wants by which a candidate shows that it starts them.
      systemd.units = {
        # A user manager, and what it starts, would outlive the call.
        "user@${toString cfg.uid}.service".enable = false;
      }
      // lib.genAttrs [ "nixgate.socket" "nixgate-control.socket" ] (_: {
        text = "";
        wantedBy = [ "sockets.target" ];
      })
      // lib.genAttrs [ "nixgate-recover.service" ] (_: {
        text = "";
        wantedBy = [ "multi-user.target" ];
      });

      # Before the blocks of others, because the first one that matches wins; `Match all` ends whatever block is open.
      services.openssh.extraConfig = mkOrder 100 ''
        Match all
        Include ${rendered}/etc/ssh/sshd_config.d/nixgate.conf
        Match all
      '';
    }

    (mkIf config.security.sudo.enable {
      # Last, because the last rule that matches wins.
      security.sudo.extraConfig = mkOrder 2000 "@include ${sudoers}\n";
    })

    # visudo of sudo-rs insists that an included file is root's, and in the sandbox of a build none is: the text is put behind
    # the others instead, and the whole is looked at as NixOS does it.
    (mkIf config.security.sudo-rs.enable {
      environment.etc.sudoers.source = mkForce (
        pkgs.runCommand "sudoers-with-nixgate"
          {
            others = pkgs.writeText "sudoers-in" config.security.sudo-rs.configFile;
            nativeBuildInputs = [ pkgs.buildPackages.sudo-rs ];
            preferLocalBuild = true;
          }
          ''
            cat "$others" ${sudoers} > sudoers
            chmod 0440 sudoers
            visudo -c -f sudoers
            cp sudoers "$out"
          ''
      );
    })

    # The gate, as any caller: it is account nixgate that says to the job that this is the timer.
    (mkIf cfg.pull.enable {
      systemd.services.nixgate-pull = {
        description = "Asks nixgate for ${cfg.pull.verb}";
        after = [ "network-online.target" ];
        wants = [ "network-online.target" ];
        restartIfChanged = false;
        stopIfChanged = false;
        unitConfig.X-StopOnRemoval = false;
        serviceConfig = {
          Type = "oneshot";
          User = "nixgate";
          Group = "nixgate";
          SupplementaryGroups = [ "deploy" ];
          ExecStart = "${gate} -c ${cfg.pull.verb}";
        };
      };
      systemd.timers.nixgate-pull = {
        description = "Asks nixgate for ${cfg.pull.verb}";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = cfg.pull.interval;
          RandomizedDelaySec = cfg.pull.randomizedDelay;
          Persistent = true;
        };
      };
    })
  ]);
}
