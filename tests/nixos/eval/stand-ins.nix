# The options of NixOS that nixos-module.nix touches, by name and type. Beside each is where nixpkgs declares it; each was looked up there.
# Without nixpkgs these are what the module is evaluated with; with NIXPKGS they are the real ones.
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
  strings = option (types.listOf types.str) [ ];
  unit = {
    options = {
      enable = bool true;
      text = option (types.nullOr types.str) null;
      wantedBy = strings;
    };
  };
  sudo = package: enabled: {
    enable = bool enabled;
    package = option types.package package;
    execWheelOnly = bool false;
    extraConfig = option types.lines "";
    configFile = option types.lines "";
  };
in
{
  options = {
    # nixos/modules/misc/assertions.nix
    assertions = option (types.listOf types.anything) [ ];
    warnings = strings;
    # nixos/modules/misc/version.nix, both
    system.stateVersion = option types.str "25.11";
    system.configurationRevision = option (types.nullOr types.str) null;
    # nixos/modules/system/activation/switchable-system.nix
    system.switch.enable = bool true;
    # nixos/modules/tasks/network-interfaces.nix
    networking.hostName = option types.str "nixos";
    # nixos/modules/system/boot/loader/systemd-boot/systemd-boot.nix
    boot.loader.systemd-boot.enable = bool false;
    # nixos/modules/system/boot/loader/grub/grub.nix
    boot.loader.grub.enable = bool true;

    # nixos/modules/security/sudo.nix
    security.sudo = sudo pkgs.sudo true;
    # nixos/modules/security/sudo-rs.nix
    security.sudo-rs = sudo pkgs.sudo-rs false;

    # nixos/modules/services/networking/ssh/sshd.nix
    services.openssh = {
      enable = bool false;
      startWhenNeeded = bool false;
      ports = option (types.listOf types.port) [ 22 ];
      extraConfig = option types.lines "";
      settings = option (types.attrsOf types.anything) { };
    };
    # nixos/modules/programs/ssh.nix
    programs.ssh.package = option types.package pkgs.openssh;
    # nixos/modules/services/networking/tailscale.nix
    services.tailscale = {
      enable = bool false;
      extraUpFlags = strings;
      extraSetFlags = strings;
    };
    # nixos/modules/system/boot/systemd/logind.nix; before 25.11 it was services.logind.killUserProcesses
    services.logind.settings.Login = option (types.attrsOf types.anything) { };

    # nixos/modules/config/nix.nix: of settings these are declared, among others, and the rest is free
    nix.settings = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf types.anything;
        options = {
          sandbox = option (types.either types.bool (types.enum [ "relaxed" ])) true;
          substituters = strings;
          trusted-substituters = strings;
          trusted-public-keys = strings;
          trusted-users = strings;
        };
      };
    };

    # nixos/modules/config/shells-environment.nix
    environment.shells = option (types.listOf (types.either types.shellPackage types.path)) [ ];
    # nixos/modules/config/system-path.nix
    environment.systemPackages = option (types.listOf types.package) [ ];
    # nixos/modules/system/etc/etc.nix
    environment.etc = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            source = option (types.nullOr types.path) null;
            text = option (types.nullOr types.lines) null;
            mode = option types.str "symlink";
          };
        }
      );
    };

    # nixos/modules/config/users-groups.nix; openssh: nixos/modules/services/networking/ssh/sshd.nix
    users.groups = mkOption {
      default = { };
      type = types.attrsOf (types.submodule { options.members = strings; });
    };
    users.users = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            uid = option (types.nullOr types.int) null;
            description = option types.str "";
            isSystemUser = bool false;
            group = option types.str "";
            extraGroups = strings;
            home = option types.path "/var/empty";
            createHome = bool false;
            shell = option (types.nullOr (types.either types.shellPackage (types.passwdEntry types.path))) null;
            hashedPassword = option (types.nullOr types.str) null;
            openssh.authorizedKeys.keys = option (types.listOf types.singleLineStr) [ ];
            openssh.authorizedKeys.keyFiles = option (types.listOf types.path) [ ];
          };
        }
      );
    };

    # nixos/modules/system/boot/systemd.nix; what is below: nixos/lib/systemd-unit-options.nix
    systemd = {
      packages = option (types.listOf types.package) [ ];
      units = option (types.attrsOf (types.submodule unit)) { };
      services = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = {
              description = option types.str "";
              after = strings;
              wants = strings;
              wantedBy = strings;
              restartIfChanged = bool true;
              stopIfChanged = bool true;
              environment = option (types.attrsOf types.str) { };
              path = option (types.listOf (types.either types.package types.str)) [ ];
              script = option types.lines "";
              preStop = option types.lines "";
              unitConfig = option (types.attrsOf types.anything) { };
              serviceConfig = option (types.attrsOf types.anything) { };
            };
          }
        );
      };
      timers = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = {
              description = option types.str "";
              wantedBy = strings;
              timerConfig = option (types.attrsOf types.anything) { };
            };
          }
        );
      };
      # nixos/modules/system/boot/systemd/tmpfiles.nix
      tmpfiles.packages = option (types.listOf types.package) [ ];
    };
  };
}
