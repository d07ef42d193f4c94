"""An index for a large table that is written meanwhile; for tables that are split by week see operations.py."""

from typing import Any

from django.db.migrations.operations import AddIndex
from django.db.migrations.state import ProjectState


class AddIndexBesideWriters(AddIndex):
    """AddIndex that keeps nobody from writing on PostgreSQL. It may be interrupted and run again.

    The migration must say `atomic = False`.
    """

    reduces_to_sql = False

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        connection = schema_editor.connection
        model = to_state.apps.get_model(app_label, self.model_name)
        if connection.vendor != "postgresql" or not self.allow_migrate_model(connection.alias, model):
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f'"{self.index.name}"']
            )
            found = cursor.fetchone()
            if found == (True,):
                return
            # What a build that broke off left behind serves nobody, and is kept up to date all the same.
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{self.index.name}"')
        schema_editor.add_index(model, self.index, concurrently=True)
