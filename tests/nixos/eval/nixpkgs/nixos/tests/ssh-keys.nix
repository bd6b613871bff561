# Stands for nixpkgs nixos/tests/ssh-keys.nix, by its names.
pkgs: {
  snakeOilPrivateKey = pkgs.writeText "privkey.snakeoil" "";
  snakeOilPublicKey = "ecdsa-sha2-nistp256 AAAA snakeoil";
  snakeOilEd25519PrivateKey = pkgs.writeText "privkey.snakeoil" "";
  snakeOilEd25519PublicKey = "ssh-ed25519 AAAA snakeoil";
}
