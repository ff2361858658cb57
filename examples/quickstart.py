"""A week of data checks, kept and read back.

Every morning three tables arrive: airports and stock prices, checked with pandera, and the weather of Seattle, checked
with Great Expectations. Some mornings something is wrong with them. One line keeps each result; a second process, which
loads neither of the two tools, reads the week back and says what happened.

    pip install truthstore "pandera[pandas]" great_expectations vega_datasets rich
    python quickstart.py                 # checks a week of tables, then starts the report
    python quickstart.py check FOLDER    # the checks alone; results stay in the folder
    python quickstart.py report FOLDER   # the report alone
"""
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from truthstore import get_store
from truthstore.base import StoreQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pandas as pd

    from truthstore.base import BaseStore
    from truthstore.results import ValidationResult, ValidatorResult

    Check = Callable[[pd.DataFrame, datetime], ValidationResult]

MONDAY = datetime(2024, 5, 6, 6, tzinfo=UTC)
WEEK = [MONDAY + timedelta(days=number) for number in range(7)]


def check_the_week(folder: str) -> None:
    """The first process: tables come in, checks run, results are kept."""
    checks: dict[str, Check] = {
        "airports.csv": airports_with_pandera(),
        "stocks.csv": stocks_with_pandera(),
        "weather.csv": weather_with_great_expectations(),
    }
    with get_store("filesystem", base_path=folder) as store:
        for asset, day, table in deliveries():
            store.save(checks[asset](table, day))
        print(f"{store.count()} results are kept in {folder}\n", flush=True)


# How the tables are checked.


def airports_with_pandera() -> Check:
    import pandera.pandas as pa

    mostly_there = pa.Check(lambda column: column.isna().mean() < 0.01, name="mostly_there", ignore_na=False)
    schema = pa.DataFrameSchema(
        {
            "iata": pa.Column(str, pa.Check.str_length(3, 4), unique=True),
            "city": pa.Column(str, mostly_there, nullable=True),
            "state": pa.Column(str, pa.Check.str_length(2, 2), nullable=True),
            "latitude": pa.Column(float, pa.Check.in_range(5, 72)),
            "longitude": pa.Column(float, pa.Check.in_range(-180, 180)),
        },
        name="airports",
    )
    return with_pandera(schema, "airports.csv")


def stocks_with_pandera() -> Check:
    import pandera.pandas as pa

    schema = pa.DataFrameSchema(
        {
            "symbol": pa.Column(str, pa.Check.isin(["AAPL", "AMZN", "GOOG", "IBM", "MSFT"])),
            "price": pa.Column(float, [pa.Check.gt(0), pa.Check.lt(1_000)]),
        },
        unique=["symbol", "date"],
        name="stocks",
    )
    return with_pandera(schema, "stocks.csv")


def with_pandera(schema: Any, asset: str) -> Check:
    from pandera.errors import SchemaErrors

    from truthstore.interop import from_pandera

    def check(table: pd.DataFrame, day: datetime) -> ValidationResult:
        start = perf_counter()
        try:
            outcome = schema.validate(table, lazy=True)
        except SchemaErrors as errors:
            outcome = errors
        return from_pandera(outcome, asset, schema=schema, run_time=day, execution_time_ms=milliseconds_since(start))

    return check


def weather_with_great_expectations() -> Check:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    from truthstore.interop import from_great_expectations

    gx: Any = great_expectations  # its type hints refuse what its documentation shows
    expect = gx.expectations
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    everything = context.data_sources.add_pandas("files").add_dataframe_asset("weather.csv")
    batches = everything.add_batch_definition_whole_dataframe("day")
    suite = gx.ExpectationSuite(
        name="weather",
        expectations=[
            expect.ExpectTableRowCountToBeBetween(min_value=365, max_value=366),
            expect.ExpectColumnValuesToBeUnique(column="date"),
            expect.ExpectColumnValuesToBeBetween(column="temp_max", min_value=-20, max_value=45),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(column_A="temp_max", column_B="temp_min", or_equal=True),
            expect.ExpectColumnValuesToNotBeNull(column="precipitation", mostly=0.95, severity="warning"),
            expect.ExpectColumnValuesToBeInSet(
                column="weather", value_set=["drizzle", "fog", "rain", "snow", "sun"], severity="warning"
            ),
        ],
    )
    validation = gx.ValidationDefinition(name="weather", data=batches, suite=context.suites.add(suite))
    context.validation_definitions.add(validation)

    def check(table: pd.DataFrame, day: datetime) -> ValidationResult:
        start = perf_counter()
        outcome = validation.run(batch_parameters={"dataframe": table}, result_format="COMPLETE")
        return from_great_expectations(outcome, run_time=day, execution_time_ms=milliseconds_since(start))

    return check


def milliseconds_since(start: float) -> float:
    return (perf_counter() - start) * 1_000


# What the tables are like.


def deliveries() -> Iterator[tuple[str, datetime, pd.DataFrame]]:
    """Real tables, which ship with vega_datasets: another part of them every day, damaged as data gets damaged."""
    from vega_datasets import local_data

    airports, stocks, weather = local_data.airports(), local_data.stocks(), local_data.seattle_weather()
    for number, day in enumerate(WEEK):
        parts = {
            "airports.csv": airports.sample(3_000, random_state=number),
            "stocks.csv": stocks.sample(500, random_state=number),
            "weather.csv": weather.iloc[150 * number :].head(365).copy(),
        }
        for asset, table in parts.items():
            damage = DAMAGE.get((asset, f"{day:%a}"), unharmed)
            yield asset, day, damage(table)


def unharmed(table: pd.DataFrame) -> pd.DataFrame:
    return table


def rows_doubled_by_a_join(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[[*range(len(table)), *range(40)]]


def signs_lost_by_a_parser(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table["state"] == "HI", "latitude"] *= -1
    return table


def cities_lost_by_a_join(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table["state"] == "TX", "city"] = None
    return table


def header_tidied_up_by_somebody(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"price": "Price (USD)"})


def cents_instead_of_dollars(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table["symbol"] == "GOOG", "price"] *= 100
    return table


def station_reports_fahrenheit(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table.index[::10], "temp_max"] = table["temp_max"] * 1.8 + 32
    return table


def rain_gauge_is_down(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table.index[-60:], "precipitation"] = float("nan")
    return table


def weather_nobody_thought_of(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table.index[:5], "weather"] = "hail"
    return rain_gauge_is_down(table)


DAMAGE: dict[tuple[str, str], Callable[[pd.DataFrame], pd.DataFrame]] = {
    ("airports.csv", "Tue"): rows_doubled_by_a_join,
    ("airports.csv", "Thu"): signs_lost_by_a_parser,
    ("airports.csv", "Fri"): signs_lost_by_a_parser,
    ("airports.csv", "Sun"): cities_lost_by_a_join,
    ("stocks.csv", "Wed"): header_tidied_up_by_somebody,
    ("stocks.csv", "Sat"): cents_instead_of_dollars,
    ("weather.csv", "Wed"): station_reports_fahrenheit,
    ("weather.csv", "Sat"): rain_gauge_is_down,
    ("weather.csv", "Sun"): weather_nobody_thought_of,
}


# What the results say.

COLOURS = {"success": "green", "warning": "yellow", "failure": "red", "error": "magenta"}


def report(folder: str) -> None:
    """The second process: what happened, from the store alone."""
    console = Console()
    with get_store("filesystem", base_path=folder) as store:
        console.print(week_by_asset(store))
        for asset in store.list_assets():
            console.print(history(store.asset_history(asset, limit=7), asset))
        # The newest 50 results that are not simply good; bodies are read for these only.
        troubled = store.query(StoreQuery(where={"status": ("!=", "success")}, limit=50))
        console.print(failing_checks(troubled))
        console.print(worst_columns(troubled))
        for asset in store.list_assets():
            newest, before = store.asset_history(asset, limit=2)
            console.print(changes(before, newest))


def week_by_asset(store: BaseStore[ValidationResult]) -> Table:
    """Figures of every asset: computed by the store's index, which reads no result for it."""
    table = Table("asset", "runs", "issues", "checks passed", "took", title="The week", title_justify="left")
    figures = store.aggregate(
        by=("data_asset",), metrics=("count", "sum:total_issues", "avg:pass_rate", "sum:execution_time_ms")
    )
    for row in figures:
        table.add_row(
            row["data_asset"],
            f"{row['count']}",
            f"{row['sum:total_issues']}",
            f"{row['avg:pass_rate']:.1%}",
            f"{row['sum:execution_time_ms']:.0f} ms",
        )
    return table


def history(runs: Iterable[ValidationResult], asset: str) -> Table:
    table = Table("day", "status", "rows", "checks", "issues", "what failed", title=asset, title_justify="left")
    for run in runs:
        figures = run.statistics
        table.add_row(
            f"{run.run_time:%a %d %b}",
            Text(run.status, style=COLOURS[run.status]),
            f"{figures.total_rows:,}",
            f"{figures.passed_validators} of {figures.total_validators}",
            f"{run.issue_count}",
            ", ".join(sorted(run.get_failed_columns())),
        )
    return table


def failing_checks(runs: Iterable[ValidationResult]) -> Table:
    table = Table(
        "asset", "column", "check", "days", "what was found last", title="Failing checks", title_justify="left"
    )
    found: dict[tuple[str, str, str], list[ValidatorResult]] = defaultdict(list)
    for run in runs:
        for check in run.results:
            if not check.success:
                found[run.data_asset, check.column or "", check.validator_name].append(check)
    for (asset, column, name), checks in sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        table.add_row(asset, column, name, f"{len(checks)}", checks[0].message)
    return table


def worst_columns(runs: Iterable[ValidationResult]) -> Table:
    table = Table("asset", "column", "bad values", title="Worst columns", title_justify="left")
    bad = Counter[tuple[str, str]]()
    for run in runs:
        for check in run.results:
            if not check.success and check.column:
                bad[run.data_asset, check.column] += check.count or 0
    for (asset, column), count in bad.most_common(5):
        table.add_row(asset, column, f"{count:,}")
    return table


def changes(before: ValidationResult, newest: ValidationResult) -> Text:
    """What changed between two runs of one asset."""

    def failing(run: ValidationResult) -> dict[str, int]:
        return {
            f"{check.column or 'table'}: {check.validator_name}": check.count or 0
            for check in run.results
            if not check.success
        }

    old, new = failing(before), failing(newest)
    text = Text(f"{newest.data_asset}, {before.run_time:%A} to {newest.run_time:%A}: ", style="bold")
    text.append(f"{before.status} → {newest.status}\n", style=COLOURS[newest.status])
    for name in new.keys() - old.keys():
        text.append(f"  new     {name} ({new[name]:,})\n", style="red")
    for name in old.keys() - new.keys():
        text.append(f"  fixed   {name}\n", style="green")
    for name in old.keys() & new.keys():
        text.append(f"  still   {name} ({old[name]:,} → {new[name]:,})\n", style="yellow")
    return text


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", path]:
            check_the_week(path)
        case ["report", path]:
            report(path)
        case []:
            with tempfile.TemporaryDirectory() as path:
                check_the_week(path)
                subprocess.run([sys.executable, __file__, "report", path], check=True)  # noqa: S603
        case _:
            sys.exit(__doc__)
