"""The answer of a search for plans as one web page: for a manager to read, for an engineer to check.

    page     the whole file, from template, style and script        words   numbers and plans in words
    headline the answer in one sentence and six figures             axes    scales and their marks
    scatter  plans against each other, in four views                curves  latency distributions
    table    all plans, column by column                            data    the same as JSON

The page reaches for nothing outside itself. It is HTML that reads without its script, which adds sorting, notes at
the points and files to take along. It knows no search: only the values of `takt.plan.plans`.
"""

from takt.report.plan_page.page import plan_page

__all__ = ["plan_page"]
