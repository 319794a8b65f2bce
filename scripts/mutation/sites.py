"""PURE: where a source file can be changed so that it still parses but should behave otherwise, and into what.

Left alone is what no test should have to notice: docstrings, annotations and type aliases, `__all__`, imports for
the type checker, assertions, what `--help` shows.
"""

import ast
import re
from typing import NamedTuple


class Site(NamedTuple):
    """One place of a file, as byte offsets, and what can stand there instead. `scope` is the function around it."""

    line: int
    scope: str
    start: int
    end: int
    variants: tuple[str, ...]


OPERATORS: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: (r"is\s+not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: (r"not\s+in", ("in",)),
    ast.And: ("and", ("or",)),
    ast.Or: ("or", ("and",)),
    ast.Add: (r"\+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: (r"\*", ("/",)),
    ast.Div: ("/", ("*",)),
    ast.FloorDiv: ("//", ("/",)),
    ast.Mod: ("%", ("//",)),
    ast.Pow: (r"\*\*", ("*",)),
    ast.BitOr: (r"\|", ("&",)),
    ast.BitAnd: ("&", ("|",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}
TYPES = {"Literal", "Annotated", "Callable", "TypeVar", "NewType"}
SHOWN_BY_HELP = {"help", "metavar"}
ONE_MORE_WORD = "XX"


def sites(source: bytes) -> list[Site]:
    """Every place of a source file that can be changed, in order."""
    finder = Finder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.sites)


def scopes(source: bytes) -> dict[int, str]:
    """The innermost function of each line in a function's body; other lines are run as the file is loaded."""
    scope_of: dict[int, str] = {}

    def walk(node: ast.AST, around: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                walk(child, around)
                continue
            inside = (*around, child.name)
            if not isinstance(child, ast.ClassDef):
                lines = range(child.body[0].lineno, (child.end_lineno or 0) + 1)
                scope_of.update(dict.fromkeys(lines, ".".join(inside)))
            walk(child, inside)

    walk(ast.parse(source), ())
    return scope_of


class Finder(ast.NodeVisitor):
    """Walks a tree and notes its sites."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.line_starts = [0, *(match.end() for match in re.finditer(rb"\n", source))]
        self.scope: list[str] = []
        self.functions = 0
        self.sites: list[Site] = []

    def start(self, node: ast.AST) -> int:
        return self.line_starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self.line_starts[node.end_lineno - 1] + node.end_col_offset

    def note(self, start: int, end: int, *variants: str) -> None:
        line = self.source.count(b"\n", 0, start) + 1
        self.sites.append(Site(line, ".".join(self.scope) if self.functions else "", start, end, variants))

    def instead_of(self, node: ast.AST, *variants: str) -> None:
        self.note(self.start(node), self.end(node), *variants)

    def between(self, left: ast.AST, operator: ast.AST, right: ast.AST) -> None:
        """The operator between two operands; there may be parentheses around it, and a comment."""
        pattern, variants = OPERATORS.get(type(operator), ("", ()))
        gap = re.sub(
            rb"#[^\n]*",
            lambda comment: b" " * len(comment[0]),
            self.source[self.end(left) : self.start(right)],
        )
        if variants and (operator_at := re.search(pattern.encode(), gap)):
            self.note(self.end(left) + operator_at.start(), self.end(left) + operator_at.end(), *variants)

    def all(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    # What is only named or described.

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        if isinstance(node.value, ast.Call) or (
            isinstance(node.value, ast.Await) and isinstance(node.value.value, ast.Call)
        ):
            self.instead_of(node, "pass")
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in SHOWN_BY_HELP:
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.all(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"):
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id in TYPES):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "cast":
            self.all(*node.args[1:])
        elif name not in TYPES:
            self.generic_visit(node)

    # Scopes.

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.all(*node.decorator_list, *node.keywords)
        self.scope.append(node.name)
        self.all(*node.body)
        self.scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.all(*node.decorator_list, node.args)
        self.scope.append(node.name)
        self.functions += 1
        self.all(*node.body)
        self.functions -= 1
        self.scope.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    # What is decided.

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        about = ast.unparse(node.test)
        if about == "TYPE_CHECKING" or "__name__" in about:
            self.all(*node.orelse)
            return
        self.instead_of(node.test, "True", "False")
        self.generic_visit(node)

    visit_IfExp = visit_If  # noqa: N815

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self.instead_of(node.test, "False")
            self.generic_visit(node)
        else:
            self.all(*node.body, *node.orelse)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self.instead_of(condition, "True", "False")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, node.comparators, strict=False):
            self.between(left, operator, right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, node.op, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.note(self.start(node), self.start(node) + len("not"), "")
        self.generic_visit(node)

    # What is reckoned.

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.between(node.left, node.op, node.right)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.between(node.target, node.op, node.value)
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None:
                self.instead_of(bound, "")
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.instead_of(node, '""')  # before Python 3.12 it is not known where its parts begin

    def visit_Constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool():
                self.instead_of(node, str(not node.value))
            case int():
                self.instead_of(node, str(node.value + 1), str(node.value - 1))
            case float():
                self.instead_of(node, repr(node.value + 1), repr(node.value / 2 - 1))
            case str():
                word = ONE_MORE_WORD + node.value
                self.instead_of(node, '""' if " " in node.value else repr(word))
            case bytes():
                self.instead_of(node, repr(ONE_MORE_WORD.encode() + node.value))

    # Where it goes on.

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and ast.unparse(node.value) != "None":
            self.instead_of(node.value, "None")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.instead_of(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.instead_of(node, "break")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.instead_of(node.type, "()")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if isinstance(node.exc, ast.Call) and raised is not None:
            self.instead_of(raised, "Exception")
        self.generic_visit(node)
