"""PURE: a script of Python without what is only said to people or to a checker: user data has no room for it."""

import ast
import re

SHEBANG = "#!/usr/bin/env python3"


def bare_python(script: str) -> str:
    """The same program without docstrings, comments and the types of functions."""
    text = ast.unparse(ast.fix_missing_locations(_Bare().visit(ast.parse(script))))
    # One space a step, where no text of several lines could begin a line.
    if '"""' in text or "'''" in text:
        return f"{SHEBANG}\n{text}\n"
    return SHEBANG + "\n" + INDENT.sub(lambda found: " " * (len(found[0]) // 4), text) + "\n"


INDENT = re.compile("^(?:    )+", re.MULTILINE)


class _Bare(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # noqa: N802
        node.returns = None
        given = node.args
        for argument in (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg):
            if argument:
                argument.annotation = None
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:  # noqa: N802
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)
