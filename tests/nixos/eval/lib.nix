# As much of nixpkgs' `lib` as nixos-module.nix uses, for machines without nixpkgs: options, their types, and what a module can say
# of a value (mkIf, mkMerge, mkDefault, mkForce, mkOrder). An unknown option, a wrong type and two values for one option are errors,
# as they are there. With NIXPKGS set the real one is used instead (tests/module.rs).
let
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    head
    isAttrs
    isFunction
    isInt
    isList
    isString
    length
    listToAttrs
    map
    mapAttrs
    match
    removeAttrs
    replaceStrings
    sort
    toJSON
    ;

  optional = condition: value: if condition then [ value ] else [ ];
  isKind = kind: value: isAttrs value && value._type or "" == kind;
  shown = concatStringsSep ".";

  # ---- what a module says of a value ----

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };

  # The names below a definition are known before its conditions are: a condition may ask for another option.
  pushDown =
    value:
    if isKind "merge" value then
      concatMap pushDown value.contents
    else if isKind "if" value then
      map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else
      [ value ];

  plain =
    value:
    if isKind "merge" value then
      concatMap plain value.contents
    else if isKind "if" value then
      (if value.condition then plain value.content else [ ])
    else if isKind "override" value then
      map (one: one // { inherit (value) priority; }) (plain value.content)
    else if isKind "order" value then
      map (one: one // { order = value.priority; }) (plain value.content)
    else
      [
        {
          priority = 100;
          order = 1000;
          inherit value;
        }
      ];

  # Those that win, in their order.
  winners =
    defined:
    let
      least = foldl' (a: b: if b.priority < a then b.priority else a) 1000000 defined;
    in
    map (one: one.value) (sort (a: b: a.order < b.order) (filter (one: one.priority == least) defined));

  merged =
    where: option: definitions:
    let
      given = concatMap plain definitions;
      fallback = optional (option ? default) {
        priority = 1500;
        order = 1000;
        value = option.default;
      };
      values = winners (given ++ fallback);
    in
    if option.readOnly or false && given != [ ] then
      throw "option ${shown where} is read-only"
    else if values == [ ] && option.type ? emptyValue then
      option.type.emptyValue
    else if values == [ ] then
      throw "option ${shown where} is used but not defined"
    else
      option.type.merge where values;

  # ---- trees of options ----

  optionsOf =
    where: trees:
    let
      names = attrNames (foldl' (a: b: a // b) { } trees);
      at =
        name:
        let
          here = map (tree: tree.${name}) (filter (tree: tree ? ${name}) trees);
          leaves = filter (isKind "option") here;
        in
        if leaves == [ ] then
          optionsOf (where ++ [ name ]) here
        else if length here == 1 then
          head here
        else
          throw "option ${shown (where ++ [ name ])} is declared twice";
    in
    listToAttrs (
      map (name: {
        inherit name;
        value = at name;
      }) names
    );

  # With a type for the rest, what has no option is taken by it.
  evaluated =
    where: options: rest: definitions:
    let
      sets = concatMap pushDown definitions;
      below = name: map (set: set.${name}) (filter (set: set ? ${name}) sets);
      wrong = filter (set: !isAttrs set) sets;
      unknown = filter (name: !(options ? ${name})) (concatMap attrNames sets);
      one =
        name: option:
        if isKind "option" option then
          merged (where ++ [ name ]) option (below name)
        else
          evaluated (where ++ [ name ]) option null (below name);
      others = map (set: removeAttrs set (attrNames options)) sets;
    in
    if wrong != [ ] then
      throw "${shown where} is not a set of options"
    else if rest == null && unknown != [ ] then
      throw "option ${shown (where ++ [ (head unknown) ])} does not exist"
    else
      (if unknown == [ ] then { } else rest.merge where others) // mapAttrs one options;

  collected =
    arguments: module:
    let
      loaded = if isAttrs module || isFunction module then module else import module;
      body = if isFunction loaded then loaded arguments else loaded;
      whole = body ? config || body ? options;
      imported = concatMap (collected arguments) (body.imports or [ ]);
    in
    [
      {
        options = body.options or { };
        config = if whole then body.config or { } else removeAttrs body [ "imports" ];
      }
    ]
    ++ imported;

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = specialArgs // {
        inherit lib config;
      };
      parts = concatMap (collected arguments) modules;
      options = optionsOf [ ] (map (part: part.options) parts);
      config = evaluated [ ] options null (map (part: part.config) parts);
    in
    {
      inherit config options;
    };

  # ---- types ----

  # One value, or several that are equal.
  scalar = name: check: {
    inherit name;
    getSubOptions = _: { };
    merge =
      where: values:
      let
        wrong = filter (value: !check value) values;
        first = head values;
      in
      if wrong != [ ] then
        throw "option ${shown where} is not ${name}"
      else if length values == 1 || all (value: value == first) values then
        first
      else
        throw "option ${shown where} has several values";
  };
  stringLike = value: isString value || builtins.isPath value || value ? outPath;

  types = rec {
    bool = scalar "a boolean" builtins.isBool;
    int = scalar "an integer" isInt;
    raw = scalar "anything, as it is" (_: true);
    str = scalar "a string" isString;
    singleLineStr = scalar "a string of one line" (
      value: isString value && match "[^\n\r]*\n?" value != null
    );
    strMatching =
      pattern: scalar "a string like ${pattern}" (value: isString value && match pattern value != null);
    enum = values: scalar "one of ${toJSON values}" (value: elem value values);
    ints = {
      between =
        low: high:
        scalar "between ${toString low} and ${toString high}" (n: isInt n && n >= low && n <= high);
      unsigned = scalar "not negative" (n: isInt n && n >= 0);
      positive = scalar "positive" (n: isInt n && n > 0);
    };
    port = ints.between 0 65535;
    passwdEntry =
      type:
      type
      // {
        merge =
          where: values:
          (scalar "without ':' and line ends" (value: match "[^:\n]*" (toString value) != null)).merge where [
            (type.merge where values)
          ];
      };
    shellPackage = scalar "a package of a shell" (
      value: value.type or "" == "derivation" && value ? shellPath
    );
    path = scalar "an absolute path" (
      value: stringLike value && builtins.substring 0 1 (toString value) == "/"
    );
    package = scalar "a package" (value: value.type or "" == "derivation");
    lines = {
      name = "lines";
      getSubOptions = _: { };
      merge = where: values: concatStringsSep "\n" (map (value: str.merge where [ value ]) values);
    };
    nullOr = type: {
      emptyValue = null;
      name = "null or ${type.name}";
      inherit (type) getSubOptions;
      merge = where: values: if all (value: value == null) values then null else type.merge where values;
    };
    either = a: b: {
      name = "${a.name} or ${b.name}";
      getSubOptions = _: { };
      merge =
        where: values:
        if (builtins.tryEval (a.merge where values)).success then
          a.merge where values
        else
          b.merge where values;
    };
    listOf = type: {
      emptyValue = [ ];
      name = "a list of ${type.name}";
      inherit (type) getSubOptions;
      merge =
        where: values:
        if all isList values then
          map (value: merged where { inherit type; } [ value ]) (concatLists values)
        else
          throw "option ${shown where} is not a list";
    };
    attrsOf = type: {
      emptyValue = { };
      name = "a set of ${type.name}";
      inherit (type) getSubOptions;
      merge =
        where: values:
        if !all isAttrs values then
          throw "option ${shown where} is not a set"
        else
          let
            sets = concatMap pushDown values;
            names = attrNames (foldl' (a: b: a // b) { } sets);
          in
          listToAttrs (
            concatMap (
              name:
              let
                here = map (set: set.${name}) (filter (set: set ? ${name}) sets);
              in
              optional (concatMap plain here != [ ]) {
                inherit name;
                value = merged (where ++ [ name ]) { inherit type; } here;
              }
            ) names
          );
    };
    submodule =
      module:
      let
        options = optionsOf [ ] [ module.options ];
      in
      {
        name = "a set of options";
        getSubOptions = _: options;
        merge = where: values: evaluated where options (module.freeformType or null) values;
      };
    anything = {
      name = "anything";
      getSubOptions = _: { };
      merge =
        where: values:
        if all isAttrs values && !(head values ? outPath) then
          (attrsOf anything).merge where values
        else
          (scalar "one thing" (_: true)).merge where values;
    };
  };

  filterAttrs =
    keep: set:
    listToAttrs (
      concatMap (
        name:
        optional (keep name set.${name}) {
          inherit name;
          value = set.${name};
        }
      ) (attrNames set)
    );

  upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  letters = text: builtins.genList (n: builtins.substring n 1 text) (builtins.stringLength text);

  lib = {
    inherit
      any
      concatMap
      concatStringsSep
      evalModules
      filterAttrs
      mkIf
      mkMerge
      mkOrder
      optional
      types
      ;
    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    literalExpression = text: text;
    literalMD = text: text;
    inherit mapAttrs;
    lowPrio = package: package;
    hasSuffix = suffix: text: lib.removeSuffix suffix text != text;
    getExe = package: "${package}/bin/${package.name}";
    trivial.release = "26.05";
    boolToString = bool: if bool then "true" else "false";
    toList = value: if isList value then value else [ value ];
    removeSuffix =
      suffix: text:
      let
        rest = builtins.stringLength text - builtins.stringLength suffix;
      in
      if rest >= 0 && builtins.substring rest (-1) text == suffix then
        builtins.substring 0 rest text
      else
        text;
    optionalString = condition: text: if condition then text else "";
    escapeShellArgs =
      let
        q = "'";
      in
      lib.concatMapStringsSep " " (word: q + replaceStrings [ q ] [ "${q}\\${q}${q}" ] word + q);
    optionalAttrs = condition: set: if condition then set else { };
    filterAttrsRecursive =
      keep: set:
      mapAttrs (_: value: if isAttrs value then lib.filterAttrsRecursive keep value else value) (
        filterAttrs keep set
      );
    genAttrs =
      names: f:
      listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    concatStrings = concatStringsSep "";
    concatMapStringsSep =
      between: f: list:
      concatStringsSep between (map f list);
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    versionOlder = a: b: builtins.compareVersions b a == 1;
    versionAtLeast = a: b: !(lib.versionOlder a b);
    toLower = replaceStrings (letters upper) (letters "abcdefghijklmnopqrstuvwxyz");
    splitString =
      between: text: filter isString (builtins.split (replaceStrings [ "." ] [ "\\." ] between) text);
  };
in
lib
