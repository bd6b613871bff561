# The text of a unit, as nixpkgs writes it (nixos/lib/systemd-lib.nix: attrsToSection, serviceToUnit, timerToUnit), without the
# environment that every service of NixOS gets.
{ lib }:
let
  word = value: if builtins.isBool value then lib.boolToString value else toString value;
  section =
    name: set:
    "[${name}]\n"
    + lib.concatStrings (
      lib.concatMap (key: map (one: "${key}=${word one}\n") (lib.toList set.${key})) (
        builtins.attrNames (lib.filterAttrs (_: value: value != [ ]) set)
      )
    );
  unit =
    description: more:
    section "Unit" (
      {
        Description = description;
      }
      // more
    );
in
{
  service =
    service:
    unit service.description (
      {
        After = toString service.after;
        Wants = toString service.wants;
      }
      // service.unitConfig
    )
    + section "Service" (
      service.serviceConfig
      // lib.optionalAttrs (!service.restartIfChanged) { X-RestartIfChanged = false; }
      // lib.optionalAttrs (!service.stopIfChanged) { X-StopIfChanged = false; }
    );
  timer = timer: unit timer.description { } + section "Timer" timer.timerConfig;
}
