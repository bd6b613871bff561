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
    optionalAttrs
    types
    ;

  gate = "/run/current-system/sw/bin/nixgate";

  # A key that is null is not in the file, in tables of lists either.
  given =
    value:
    if builtins.isAttrs value then
      lib.mapAttrs (_: given) (lib.filterAttrs (_: inner: inner != null) value)
    else if builtins.isList value then
      map given value
    else
      value;
  configFile = toml.generate "nixgate-config.toml" (given cfg.settings);

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
  imports = [
    ./nix/options.nix
    ./nix/assertions.nix
  ];

  options.services.nixgate.rendered = mkOption {
    type = types.package;
    readOnly = true;
    internal = true;
    default = rendered;
    description = "What `nixgatectl render` made of the settings.";
  };

  config = mkIf cfg.enable (mkMerge [
    {
      # What a job runs by the names in /run/current-system/sw/bin, besides Nix and systemd. Most hosts have all of it anyhow, and then
      # in their own variant, which wins; but environment.corePackages can be anything.
      environment.systemPackages = [
        cfg.package
      ]
      ++ map lib.lowPrio [
        config.programs.ssh.package
        pkgs.coreutils
        pkgs.curl
        pkgs.git
        pkgs.gnugrep
        pkgs.util-linux
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

      # Each deploy asks sshd twice for its key without logging in. sshd before 9.8 knows neither penalties nor this line.
      services.openssh.settings = mkIf (lib.versionAtLeast config.programs.ssh.package.version "9.8") {
        PerSourcePenaltyExemptList = mkDefault "127.0.0.1,::1";
      };

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
