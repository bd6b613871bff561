# A flake whose system is one that lies in the store already, under a name of its own: a copy of the toplevel, which is links and a few
# scripts that name their own path. So a machine without a network and without nixpkgs evaluates and builds a real system.
#
# Pure evaluation refuses `builtins.storePath`. `builtins.appendContext` says the same of a path, and is allowed.
{
  pkgs,
  name,
  toplevel,
}:
let
  tools = import ./tools.nix pkgs;
  bin = map (tool: "${tool}/bin") tools;
  there = path: "(there \"${builtins.unsafeDiscardStringContext (toString path)}\")";
in
pkgs.writeText "flake-of-${name}.nix" ''
  {
    description = "${name}";
    outputs = _: {
      nixosConfigurations.host.config.system.build.toplevel =
        let
          there = path: builtins.appendContext path { ''${path}.path = true; };
        in
        derivation {
          name = "nixos-system-host-${name}";
          system = "${pkgs.stdenv.hostPlatform.system}";
          candidate = ${there toplevel};
          tools = [ ${builtins.concatStringsSep " " (map there tools)} ];
          PATH = "${builtins.concatStringsSep ":" bin}";
          builder = ${there (builtins.head tools)} + "/bin/bash";
          args = [
            "-euc"
            '''
              cp -dR "$candidate" "$out"
              chmod -R u+w "$out"
              find "$out" -type f -exec sed -i "s|$candidate|$out|g" {} +
            '''
          ];
        };
    };
  }
''
