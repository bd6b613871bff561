# What a candidate is built with inside the machine; see ./candidate.nix.
pkgs: [
  pkgs.bash
  pkgs.coreutils
  pkgs.findutils
  pkgs.gnused
]
