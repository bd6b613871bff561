{
  description = "NixOS in shape only: what nixgate reads and runs of a system, made by busybox";
  outputs =
    { self }:
    let
      system = "x86_64-linux";
      # Trees that stand in the store already. A fixed-output derivation with their name and hash is valid and never built.
      trees = builtins.fromJSON (builtins.readFile ./trees.json);
      tree =
        name:
        derivation {
          inherit name system;
          builder = "/never/built";
          outputHashMode = "recursive";
          outputHashAlgo = "sha256";
          outputHash = trees.${name};
        };
      busybox = tree "busybox";
      words = builtins.filter builtins.isString (builtins.split "[ \n]+" (builtins.readFile ./fault));
      faulty = word: builtins.elem word words;
      version = builtins.replaceStrings [ "\n" ] [ "" ] (builtins.readFile ./version);
      # The system and, where it is asked for, a specialisation of it: a system of its own, as in NixOS.
      toplevel =
        { specialisation, gui }:
        derivation {
          name = "nixos-system-demo-${version}${specialisation}";
          inherit system busybox version gui;
          builder = "${busybox}/bin/sh";
          args = [ "${self}/build.sh" ];
          outputs = [
            "out"
            "etc"
          ];
          src = self;
          nixgate = tree (if faulty "nixgate-next" then "nixgate-next" else "nixgate");
          kernel = tree (
            if faulty "new-kernel" then
              "kernel-next"
            else if faulty "big-kernel" then
              "kernel-big"
            else
              "kernel"
          );
          revision = self.rev or "";
          PATH = "${busybox}/bin";
        };
      gui = toplevel {
        specialisation = "-gui";
        gui = "";
      };
    in
    {
      nixosConfigurations.demo.config.system.build.toplevel = toplevel {
        specialisation = "";
        gui = if faulty "specialised" then gui else "";
      };
    };
}
