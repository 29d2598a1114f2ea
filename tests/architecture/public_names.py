"""A contract for import-linter: who builds on smtpx inside of it uses no more than users do."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PublicNames(Contract):
    """The packages import no module of the root's that is private, but their own.

    A module is private where one of its names begins with an underscore. Packages that are still
    to be written keep to it from their first line on.
    """

    packages = fields.SetField(subfield=fields.StringField())
    common = fields.SetField(subfield=fields.StringField())
    """Private modules that all of smtpx shares."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        offences = [
            (importer, imported)
            for package in self.packages  # type: ignore[attr-defined] # a field's value is a set
            for importer in sorted(graph.modules)
            if _is_in(importer, package)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if _is_private(imported) and not _is_in(imported, package)
            if imported not in self.common  # type: ignore[operator] # as above
        ]
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["offences"]:
            output.print_error(f"{importer} is not allowed to import {imported}")
        output.new_line()


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _is_private(module: str) -> bool:
    return module.startswith("smtpx.") and "._" in module
