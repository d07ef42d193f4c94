"""Migration operations that Django lacks: partitions by week, and what else PostgreSQL alone keeps of a table."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.apps.registry import Apps
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddIndex, RunPython
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from controlplane.common.database import run_when_free
from controlplane.common.partitions import WEEK, default_name, partition_name, week_of

# Weeks further back get no partition of their own; their rows stay in the DEFAULT one until retention deletes them.
BACK_MAX = timedelta(days=400)
PARENTS_AT_ONCE = 500


class _OnPostgres(Operation):
    """Changes how PostgreSQL keeps the table of one model; neither Django's state nor another database changes."""

    reduces_to_sql = False
    reversible = True

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        raise NotImplementedError

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        raise NotImplementedError

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """What Django knows of the model stays true enough: which row is which, and which columns there are."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 -- Django's signature
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self._is_meant(model, schema_editor):
            self.apply(model, schema_editor)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,  # noqa: ARG002 -- Django's signature
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self._is_meant(model, schema_editor):
            self.revert(model, schema_editor)

    def _is_meant(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> bool:
        return editor.connection.vendor == "postgresql" and self.allow_migrate_model(editor.connection.alias, model)


class LeaveRoom(_OnPostgres):
    """On PostgreSQL, fill the pages of a model's table to `percent` only.

    An update that changes no indexed column then finds room on its own page and touches no index (a HOT update). Rows
    that are there already move as they are updated.
    """

    def __init__(self, model_name: str, percent: int) -> None:
        super().__init__(model_name)
        self.percent = percent

    def describe(self) -> str:
        return f"Fill the pages of {self.model_name} to {self.percent} %"

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        table = editor.quote_name(model._meta.db_table)
        editor.execute(f"ALTER TABLE {table} SET (fillfactor = {self.percent})")

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        editor.execute(f"ALTER TABLE {editor.quote_name(model._meta.db_table)} RESET (fillfactor)")


class IndexArrival(_OnPostgres):
    """On PostgreSQL, a BRIN index of a column whose values rise as rows come: next to no cost, and no size.

    It finds out whether a past week has a row that came lately without reading the week.
    """

    def __init__(self, model_name: str, column: str) -> None:
        super().__init__(model_name)
        self.column = column

    def describe(self) -> str:
        return f"Index the arrival of {self.model_name}"

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        table, name = model._meta.db_table, editor.quote_name(self._name(model))
        editor.execute(
            f"CREATE INDEX {name} ON {editor.quote_name(table)} "
            f"USING brin ({editor.quote_name(self.column)}) WITH (autosummarize = on)"
        )

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        editor.execute(f"DROP INDEX {editor.quote_name(self._name(model))}")

    def _name(self, model: type[models.Model]) -> str:
        return f"{model._meta.db_table}_{self.column}_brin"


class AddIndexByPartition(AddIndex):
    """AddIndex for a table that PartitionByWeek split: built beside readers and writers, partition by partition.

    PostgreSQL knows no CREATE INDEX CONCURRENTLY for a partitioned table. Here the index of the whole is made empty,
    and each partition's own is built and attached; partitions that are made meanwhile bring theirs. It may be
    interrupted and run again. The migration must say `atomic = False`. Tables that are not split are left to AddIndex.
    """

    reduces_to_sql = False

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        statements, table, name = _Editor(schema_editor), model._meta.db_table, self.index.name
        if not statements.partitions(table):
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        head, whole = f'CREATE INDEX "{name}" ON "{table}"', str(self.index.create_sql(model, schema_editor))
        if not whole.startswith(head):
            raise ValueError(f"{whole!r} does not begin with {head!r}.")
        statements.index_by_partition(table, name, whole.removeprefix(head))


class ReplaceIndexByPartition(_OnPostgres):
    """On PostgreSQL, give an index of a table that PartitionByWeek split another definition, beside its writers.

    It may be interrupted and run again. `now` and `before` are what stands behind the table's name in CREATE INDEX. The
    migration must say `atomic = False`.
    """

    def __init__(self, model_name: str, name: str, *, now: str, before: str, unique: bool = False) -> None:
        super().__init__(model_name)
        self.name, self.now, self.before, self.unique = name, now, before, unique

    def describe(self) -> str:
        return f"Replace the index {self.name} of {self.model_name}"

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        self._replace(model, editor, self.now)

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        self._replace(model, editor, self.before)

    def _replace(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor, definition: str) -> None:
        statements, fresh = _Editor(editor), f"{self.name}_new"
        # Those of an earlier replacement still have the names that the new ones get.
        statements.name_parts(model._meta.db_table, self.name)
        statements.index_by_partition(model._meta.db_table, fresh, definition, unique=self.unique)
        # It is gone already where the run before broke off right here.
        run_when_free(f'DROP INDEX IF EXISTS "{self.name}"', editor.connection)
        statements.run(f'ALTER INDEX "{fresh}" RENAME TO "{self.name}"')


TRANSACTION_COLUMN = "txid"


class RecordTransaction(_OnPostgres):
    """On PostgreSQL, a column that tells which transaction inserted a row; Django's models do not know it.

    It is NULL in rows that are there already, and its default fills it in all others, whichever statement brings them:
    added without one and given it afterwards, it rewrites nothing. The table is locked for a moment.
    """

    def describe(self) -> str:
        return f"Record which transaction inserts each row of {self.model_name}"

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        table = editor.quote_name(model._meta.db_table)
        run_when_free(f"ALTER TABLE {table} ADD COLUMN {TRANSACTION_COLUMN} xid8", editor.connection)
        editor.execute(f"ALTER TABLE {table} ALTER COLUMN {TRANSACTION_COLUMN} SET DEFAULT pg_current_xact_id()")

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        editor.execute(f"ALTER TABLE {editor.quote_name(model._meta.db_table)} DROP COLUMN {TRANSACTION_COLUMN}")


def copy_from_parent(model: tuple[str, str], parent: tuple[str, str], *, link: str, column: str) -> RunPython:
    """Fill a column where it is NULL with that of the row that `link` references, some parents at a time.

    Run again, it goes on where it stopped; the migration must say `atomic = False`. There is nothing to undo: the
    column goes with the migration that brought it.
    """

    def fill(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:  # noqa: ARG001 -- Django's signature
        rows: models.QuerySet[models.Model] = models.QuerySet(apps.get_model(*model))
        parents: models.QuerySet[models.Model] = models.QuerySet(apps.get_model(*parent))
        found = parents.filter(pk=OuterRef(link)).values(column)
        ids = list(parents.order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(ids), PARENTS_AT_ONCE):
            some = ids[start : start + PARENTS_AT_ONCE]
            rows.filter(**{f"{link}__in": some, column: None}).update(**{column: Subquery(found)})

    return RunPython(fill, RunPython.noop)


class IndexPartitions(_OnPostgres):
    """On PostgreSQL, an index of a kind that other databases lack, built as AddIndexByPartition does it.

    `definition` is what follows the name of the table in CREATE INDEX.
    """

    def __init__(self, model_name: str, name: str, definition: str) -> None:
        super().__init__(model_name)
        self.name, self.definition = name, definition

    def describe(self) -> str:
        return f"Index {self.model_name} by {self.name}"

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        _Editor(editor).index_by_partition(model._meta.db_table, self.name, f" {self.definition}")

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:  # noqa: ARG002 -- as apply
        run_when_free(f'DROP INDEX IF EXISTS "{self.name}"', editor.connection)


class PartitionByWeek(_OnPostgres):
    """On PostgreSQL, split the table of a model by the weeks of one column, with `indexes` instead of its own ones.

    Rows are copied both ways in the migration's own transaction, which keeps everybody else off the table meanwhile.
    Back, of rows with one value in a column that is unique again the oldest is kept. `indexes` are statements on
    `{table}`. The state of the model does not change, and other databases are left alone.
    """

    def __init__(self, model_name: str, column: str, indexes: Sequence[str]) -> None:
        super().__init__(model_name)
        self.column, self.indexes = column, list(indexes)

    def describe(self) -> str:
        return f"Partition {self.model_name} by weeks of {self.column}"

    @property
    def migration_name_fragment(self) -> str:
        return f"partition_{self.model_name.lower()}"

    def apply(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        table, statements = _Table(model), _Editor(editor)
        plain, fresh = table.name, f"{table.name}_new"
        statements.run(f'LOCK TABLE "{plain}" IN ACCESS EXCLUSIVE MODE')
        next_id = statements.next_id(plain)
        statements.run(
            f'CREATE TABLE "{fresh}" (LIKE "{plain}" INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) '
            f'PARTITION BY RANGE ("{self.column}")'
        )
        statements.run(f'CREATE TABLE "{default_name(plain)}" PARTITION OF "{fresh}" DEFAULT')
        for week in statements.weeks(plain, self.column):
            statements.run(
                f'CREATE TABLE "{partition_name(plain, week)}" PARTITION OF "{fresh}" '
                f"FOR VALUES FROM ('{week.isoformat()}') TO ('{(week + WEEK).isoformat()}')"
            )
        statements.copy(plain, fresh, table.columns)
        statements.run(f'DROP TABLE "{plain}"')
        statements.run(f'ALTER TABLE "{fresh}" RENAME TO "{plain}"')
        statements.run(
            f'ALTER TABLE "{plain}" ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY '
            f'(SEQUENCE NAME "{plain}_id_seq" START WITH {next_id})'
        )
        for index in self.indexes:
            statements.run(index.format(table=f'"{plain}"'))

    def revert(self, model: type[models.Model], editor: BaseDatabaseSchemaEditor) -> None:
        table, statements = _Table(model), _Editor(editor)
        split = f"{table.name}_split"
        statements.run(f'LOCK TABLE "{table.name}" IN ACCESS EXCLUSIVE MODE')
        next_id = statements.next_id(table.name)
        # Their names are those of the plain table's own.
        statements.drop_indexes(table.name)
        statements.run(f'ALTER TABLE "{table.name}" ALTER COLUMN id DROP IDENTITY')
        statements.run(f'ALTER TABLE "{table.name}" RENAME TO "{split}"')
        editor.create_model(model)
        _make_deferred(editor)
        statements.copy(split, table.name, table.columns)
        statements.run(f"SELECT setval(pg_get_serial_sequence('\"{table.name}\"', 'id'), {next_id}, false)")
        statements.run(f'DROP TABLE "{split}"')


def _make_deferred(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the indexes that `create_model` put off, so that rows which must not be there twice are left out."""
    statements, schema_editor.deferred_sql = schema_editor.deferred_sql, []
    for statement in statements:
        schema_editor.execute(statement, None)


class _Table:
    """The names of one table; identifiers of the portal's own models need no escaping."""

    def __init__(self, model: type[models.Model]) -> None:
        self.name = model._meta.db_table
        self.columns = ", ".join(f'"{field.column}"' for field in model._meta.local_concrete_fields)


def _part_name(table: str, name: str, partition: str) -> str:
    """What an index of a partition is called, by that of the whole table."""
    return f"{name}_{partition.removeprefix(f'{table}_')}"


class _Editor:
    """Statements of one conversion. Only names of the portal's own tables are written into them."""

    def __init__(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        self._connection = schema_editor.connection

    def run(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def copy(self, source: str, target: str, columns: str) -> None:
        """Oldest first, so that of rows which `target` takes only one of, it takes the oldest."""
        self.run(
            f'INSERT INTO "{target}" ({columns}) SELECT {columns} FROM "{source}" ORDER BY id '  # noqa: S608
            "ON CONFLICT DO NOTHING"
        )

    def _value(self, statement: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

    def next_id(self, table: str) -> int:
        """Above every id that was ever given, also to rows that are gone."""
        sequence = self._value(f"SELECT pg_get_serial_sequence('\"{table}\"', 'id')")
        given: int = self._value(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608
        highest: int = self._value(f'SELECT COALESCE(max(id), 0) FROM "{table}"')  # noqa: S608
        return max(given, highest) + 1

    def weeks(self, table: str, column: str) -> list[datetime]:
        """This week, the next, and every other of the last BACK_MAX that has rows; oldest first."""
        now = timezone.now()
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT DISTINCT date_trunc('week', \"{column}\" AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' "  # noqa: S608
                f'FROM "{table}" WHERE "{column}" BETWEEN %s AND %s',
                [week_of(now - BACK_MAX), now],
            )
            with_rows = {week_of(week) for (week,) in cursor.fetchall()}
        return sorted(with_rows | {week_of(now), week_of(now) + WEEK})

    def partitions(self, table: str) -> list[str]:
        """The names of the partitions, oldest first and the DEFAULT one among them; none where the table is whole."""
        if self._connection.vendor != "postgresql":
            return []
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
                "WHERE inhparent = to_regclass(%s) ORDER BY relname",
                [f'"{table}"'],
            )
            return [name for (name,) in cursor.fetchall()]

    def index_by_partition(self, table: str, name: str, definition: str, *, unique: bool = False) -> None:
        """Make an index of a partitioned table from one of each partition; goes on where it was interrupted.

        A partition that was made since the whole has its own part already, under a name that PostgreSQL gave it.
        """
        kind = "UNIQUE INDEX" if unique else "INDEX"
        run_when_free(f'CREATE {kind} IF NOT EXISTS "{name}" ON ONLY "{table}"{definition}', self._connection)
        for partition in self.partitions(table):
            if self._part_of(name, partition):
                continue
            part = _part_name(table, name, partition)
            if not self._is_valid_index(part):
                self.run(f'DROP INDEX CONCURRENTLY IF EXISTS "{part}"')
                self.run(f'CREATE {kind} CONCURRENTLY "{part}" ON "{partition}"{definition}')
            self.run(f'ALTER INDEX "{name}" ATTACH PARTITION "{part}"')

    def name_parts(self, table: str, name: str) -> None:
        """Call the parts of an index as `index_by_partition` would, whoever made them."""
        for partition in self.partitions(table):
            part = self._part_of(name, partition)
            if part not in {None, _part_name(table, name, partition)}:
                self.run(f'ALTER INDEX "{part}" RENAME TO "{_part_name(table, name, partition)}"')

    def _part_of(self, name: str, partition: str) -> str | None:
        """The index of a partition that is attached to the one of this name."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid "
                "JOIN pg_class ON pg_class.oid = indexrelid "
                "WHERE inhparent = to_regclass(%s) AND indrelid = to_regclass(%s)",
                [f'"{name}"', f'"{partition}"'],
            )
            found = cursor.fetchone()
        return found[0] if found else None

    def _is_valid_index(self, name: str) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f'"{name}"'])
            found = cursor.fetchone()
        return bool(found and found[0])

    def drop_indexes(self, table: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT indexrelid::regclass::text, conname FROM pg_index "
                "LEFT JOIN pg_constraint ON conindid = indexrelid AND conrelid = indrelid "
                "WHERE indrelid = to_regclass(%s)",
                [f'"{table}"'],
            )
            for index, constraint in cursor.fetchall():
                if constraint:
                    self.run(f'ALTER TABLE "{table}" DROP CONSTRAINT "{constraint}"')
                else:
                    self.run(f"DROP INDEX {index}")
