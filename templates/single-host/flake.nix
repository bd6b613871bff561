{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  inputs.nixgate.url = "github:nixgate/nixgate";
  inputs.nixgate.inputs.nixpkgs.follows = "nixpkgs";

  outputs =
    {
      self,
      nixpkgs,
      nixgate,
    }:
    {
      nixosConfigurations.web1 = nixpkgs.lib.nixosSystem {
        modules = [
          # What nixos-generate-config made on the host: `cp /etc/nixos/hardware-configuration.nix .`
          ./hardware-configuration.nix
          nixgate.nixosModules.default
          (import ./host.nix { inherit self; })
        ];
      };
    };
}
