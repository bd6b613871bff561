# The three programs. The gate is static (no loader, no LD_PRELOAD) and built alone: with the others its crates would get
# their features. As in tests/container/build.
{
  lib,
  rustPlatform,
  pkgsStatic,
  symlinkJoin,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
  common = {
    inherit (manifest.package) version;
    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ../Cargo.toml
        ../Cargo.lock
        ../src
      ];
    };
    cargoLock.lockFile = ../Cargo.lock;
    # ./test runs them, with real servers and containers, which a build has not.
    doCheck = false;
    meta = {
      inherit (manifest.package) description;
      homepage = manifest.package.repository;
      license = with lib.licenses; [
        mit
        asl20
      ];
      platforms = lib.platforms.linux;
    };
  };
  gate = pkgsStatic.rustPlatform.buildRustPackage (
    common
    // {
      pname = "nixgate-gate";
      buildNoDefaultFeatures = true;
      cargoBuildFlags = [
        "--bin"
        "nixgate"
      ];
    }
  );
  others = rustPlatform.buildRustPackage (
    common
    // {
      pname = "nixgate-host";
      cargoBuildFlags = [
        "--bin"
        "nixgate-job"
        "--bin"
        "nixgatectl"
      ];
    }
  );
in
symlinkJoin {
  name = "nixgate-${common.version}";
  inherit (common) version meta;
  pname = "nixgate";
  paths = [
    gate
    others
  ];
  passthru = {
    inherit gate others;
  };
}
