"""Names that the script of a test uses and nobody defines, and methods that the test driver's machines do not have.

The driver of nixpkgs type-checks a script before it runs (nixos/lib/test-driver/src/test_driver/machine: what a machine can do); this
is what can be seen without it. Usage: names.py MACHINE… <SCRIPT
"""

import ast
import builtins
import sys

DRIVER = {"start_all", "subtest", "retry", "log"}
METHODS = {
    "block", "crash", "execute", "fail", "reboot", "shutdown", "start", "succeed", "systemctl", "unblock",
    "wait_for_file", "wait_for_open_port", "wait_for_unit", "wait_until_fails", "wait_until_succeeds",
}

machines = set(sys.argv[1:])
tree = ast.parse(sys.stdin.read())
known = DRIVER | machines | set(dir(builtins))
for node in ast.walk(tree):
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    elif isinstance(node, ast.FunctionDef):
        known.add(node.name)
    elif isinstance(node, ast.arg):
        known.add(node.arg)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        known.add(node.id)
for node in ast.walk(tree):
    if isinstance(node, ast.Name) and node.id not in known:
        print(f"line {node.lineno}: {node.id}")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in machines | {"machine", "peer"} and node.attr not in METHODS:
            print(f"line {node.lineno}: {node.value.id}.{node.attr}")
