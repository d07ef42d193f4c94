from django.db import migrations

# What a task or a series has already is left alone, so that a run that is repeated counts nothing twice.
FILL_TASKS = """
INSERT INTO tasks_app_tasktotals (
    instance_id, task_name, fetched, started, succeeded, retried, failed, dead_lettered, cancelled, timeouts,
    window_started_at, window_ended_at, inflight, avg_duration_ms, p95_duration_ms
)
SELECT
    counted.instance_id, counted.task_name, fetched, started, succeeded, retried, failed, dead_lettered, cancelled,
    timeouts, window_started_at, window_ended_at, inflight, avg_duration_ms, p95_duration_ms
FROM (
    SELECT
        instance_id, task_name, SUM(1.0 * fetched) AS fetched, SUM(1.0 * started) AS started,
        SUM(1.0 * succeeded) AS succeeded, SUM(1.0 * retried) AS retried, SUM(1.0 * failed) AS failed,
        SUM(1.0 * dead_lettered) AS dead_lettered, SUM(1.0 * cancelled) AS cancelled, SUM(1.0 * timeouts) AS timeouts
    FROM tasks_app_metricwindow
    WHERE EXISTS (SELECT 1 FROM agents_instance i WHERE i.id = instance_id)
    GROUP BY instance_id, task_name
) counted
JOIN (
    SELECT
        instance_id, task_name, window_started_at, window_ended_at, inflight, avg_duration_ms, p95_duration_ms,
        ROW_NUMBER() OVER (PARTITION BY instance_id, task_name ORDER BY window_ended_at DESC, id DESC) AS age
    FROM tasks_app_metricwindow
) latest ON latest.instance_id = counted.instance_id AND latest.task_name = counted.task_name AND latest.age = 1
WHERE TRUE
ON CONFLICT (instance_id, task_name) DO NOTHING
"""

# Deltas are divided by 2^54, which is exact, before they are added up: hostile ones would overflow a double.
FILL_CUSTOM_METRICS = """
INSERT INTO tasks_app_custommetrictotals (
    instance_id, task_name, name, kind, labels_hash, labels, value, window_ended_at
)
SELECT
    latest.instance_id, latest.task_name, latest.name, latest.kind, latest.labels_hash, latest.labels,
    CASE WHEN latest.kind = 'gauge' THEN latest.value WHEN counted.scaled >= 5e291 THEN 1e308
         ELSE counted.scaled * 18014398509481984.0 END,
    latest.window_ended_at
FROM (
    SELECT instance_id, task_name, name, kind, labels_hash,
        SUM(CASE WHEN ABS(value) < 1e-200 THEN 0 ELSE value / 18014398509481984.0 END) AS scaled
    FROM tasks_app_custommetric
    WHERE EXISTS (SELECT 1 FROM agents_instance i WHERE i.id = instance_id)
    GROUP BY instance_id, task_name, name, kind, labels_hash
) counted
JOIN (
    SELECT
        instance_id, task_name, name, kind, labels_hash, labels, value, window_ended_at,
        ROW_NUMBER() OVER (
            PARTITION BY instance_id, task_name, name, kind, labels_hash ORDER BY window_ended_at DESC, id DESC
        ) AS age
    FROM tasks_app_custommetric
) latest ON latest.instance_id = counted.instance_id AND latest.task_name = counted.task_name
    AND latest.name = counted.name AND latest.kind = counted.kind AND latest.labels_hash = counted.labels_hash
    AND latest.age = 1
WHERE TRUE
ON CONFLICT (instance_id, task_name, name, kind, labels_hash) DO NOTHING
"""


class Migration(migrations.Migration):
    """The totals of the windows that are stored. Windows that came and went before stay uncounted.

    Set-wise: some seconds per million windows. What a process of the release before stores afterwards is not counted.
    """

    dependencies = [
        ("tasks_app", "0008_totals"),
    ]

    operations = [
        # Back there is nothing to undo: the tables go with the migration before.
        migrations.RunSQL(FILL_TASKS, migrations.RunSQL.noop),
        migrations.RunSQL(FILL_CUSTOM_METRICS, migrations.RunSQL.noop),
    ]
