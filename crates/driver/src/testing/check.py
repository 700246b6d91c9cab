"""Looks at a test script before any machine boots: its syntax, names that nothing defines, modules that this host does not have.

Standard input is JSON: the script, the text of driver.py (whose `scope` names what a script has), names of machines, numbers of segments,
whether names are looked at. What is wrong is printed, a line each; the exit status is 1 then.
"""
import ast, builtins, difflib, importlib.util, json, re, symtable, sys

asked = json.load(sys.stdin)
script = asked["script"]
wrong = []

try:
    tree = ast.parse(script, "testScript")
    table = symtable.symtable(script, "testScript", "exec")
except (SyntaxError, ValueError) as error:
    print(f"line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}: {(getattr(error, 'text', '') or '').strip()}")
    sys.exit(1)

lines = script.splitlines()


def report(line, text):
    wrong.append((line, f"line {line}: {text}: {lines[line - 1].strip() if line <= len(lines) else ''}"))


def scope_of(source):
    """Names that the driver gives to a script: the keys of its `scope`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "scope":
            names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "scope" and isinstance(node.slice, ast.Constant):
            names.add(node.slice.value)
    return names


def tables(of):
    yield of
    for child in of.get_children():
        yield from tables(child)


def optional_imports(node, inside=False):
    """Imports, each with whether the script is prepared for their failure."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, inside
        yield from optional_imports(child, inside or isinstance(child, ast.Try))


names = {re.sub(r"^[^A-Za-z_]|[^A-Za-z0-9_]", "_", name) for name in asked["machines"]}
known = names | scope_of(asked["driver"]) | set(dir(builtins)) | {f"vlan{number}" for number in asked["segments"]}
known |= {"machine"} if len(asked["machines"]) == 1 else set()
known |= {"__name__", "__file__", "__builtins__", "__doc__"}

for node, is_optional in optional_imports(tree):
    modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module] if node.level == 0 else []
    for module in modules:
        top = module.split(".")[0]
        if not is_optional and top not in sys.modules and importlib.util.find_spec(top) is None:
            report(node.lineno, f"this host's python3 has no module `{top}` (Debian: apt-get install python3-{top.lower().replace('_', '-')})")

words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
has_star = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
# What makes names behind our back is not judged.
if asked["names"] and not has_star and not words & {"exec", "eval", "globals", "locals"}:
    for own in tables(table):
        for symbol in own.get_symbols():
            made = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
            if made and (own is table or symbol.is_declared_global()):
                known.add(symbol.get_name())
    unknown = set()
    for own in tables(table):
        for symbol in own.get_symbols():
            if symbol.is_referenced() and (own is table or symbol.is_global()) and symbol.get_name() not in known:
                unknown.add(symbol.get_name())
    for name in unknown:
        line = min((node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name), default=1)
        near = difflib.get_close_matches(name, [word for word in known if not word.startswith("__")], 1)
        hint = f"did you mean `{near[0]}`?" if near else f"machines: {', '.join(sorted(names))}"
        report(line, f"nothing is called `{name}`; {hint}")

for _, text in sorted(wrong):
    print(text)
sys.exit(1 if wrong else 0)
