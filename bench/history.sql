-- The steps of bench.history, each below its name. Parameters are those of Size, and `ahead`, how long the online stay so.
-- Services fall off in size as in life: the first has some 4 % of all instances, the last a few. Times of history are dense
-- lately and thin out into the past: the square of a random share of it.

-- step: services
INSERT INTO agents_service (name, environment, description, latest_deployment_version, latest_topology_hash,
    latest_sync_at, created_at, updated_at)
SELECT CASE number %% 7 WHEN 3 THEN 'team/billing-' WHEN 5 THEN '结算 ' ELSE 'service-' END || number,
    (ARRAY['prod', 'prod', 'prod', 'staging', 'dev'])[1 + number %% 5], 'of the bench', '1.' || number %% 9,
    'sha256:' || md5(number::text), now() - random() * interval '1 day', now() - interval '60 days', now()
FROM generate_series(0, %(services)s - 1) AS number

-- step: numbers
CREATE TEMPORARY TABLE bench_service AS
SELECT id, row_number() OVER (ORDER BY id) - 1 AS number, 2 + (id %% 5)::int AS tasks FROM agents_service

-- step: tasks
INSERT INTO tasks_app_task (service_id, name, description, source_name, source_kind, source_config, emit,
    concurrency, timeout_s, retry_policy, topology_hash, created_at, updated_at)
SELECT s.id, 'task-' || task, '', 'every-' || task,
    (ARRAY['interval', 'cron', 'rabbitmq_queue', 'redis_stream'])[1 + (s.number + task) %% 4], '{"seconds": 30}',
    '[{"kind": "memory_queue", "name": "out", "config": {}}]', 4, 30,
    '{"kind": "max_attempts", "config": {"max_attempts": 3}}', 'sha256:x', now() - interval '60 days', now()
FROM bench_service s, generate_series(0, s.tasks - 1) AS task

-- step: replicas
INSERT INTO agents_replica (id, kind, host_id, pid, process_started_at, started_at, last_seen_at, sight_since,
    ingest)
SELECT gen_random_uuid(), 'web', 'bench-host/boot', number, now(), now(), now() + interval %(ahead)s, now(), '{}'
FROM generate_series(1, 2) AS number

-- step: instances
INSERT INTO agents_instance (id, dialect, external_id, service_id, node_name, hostname, pid, deployment_version,
    agent_version, python_version, started_at, connectivity, connectivity_changed_at, last_seen_at, health,
    uptime_s, inflight_tasks, last_sync_at, last_topology_hash, created_at, updated_at)
SELECT made, 'onestep', made::text, s.id, 'node-' || i.number, 'host-' || i.number %% 9973, 1000 + i.number %% 30000,
    '1.' || s.number %% 9, '1.15.0', '3.11.7', now() - random() * interval '9 days', state,
    now() - random() * interval '3 days',
    CASE state WHEN 'online' THEN now() + interval %(ahead)s
        WHEN 'offline' THEN now() - power(random(), 3) * interval '9 days' - interval '91 seconds' END,
    CASE WHEN state = 'never_reported' THEN 'unknown' WHEN dice < 0.92 THEN 'ok'
        WHEN dice < 0.98 THEN 'degraded' ELSE 'error' END,
    86400, 1, CASE WHEN state <> 'never_reported' THEN now() - random() * interval '1 day' END,
    CASE WHEN dice < 0.99 THEN 'sha256:' || md5(s.number::text) ELSE 'sha256:old' END,
    now() - random() * interval '60 days', now()
FROM (
    SELECT number, gen_random_uuid() AS made, random() AS dice,
        CASE WHEN spread < 0.9 THEN 'online' WHEN spread < 0.97 THEN 'offline' ELSE 'never_reported' END AS state,
        floor(%(services)s * power(random(), 2))::int AS service
    FROM (SELECT number, random() AS spread FROM generate_series(1, %(instances)s) AS number) AS drawn
) AS i JOIN bench_service s ON s.number = i.service

-- step: numbers of instances
CREATE TEMPORARY TABLE bench_instance AS
SELECT i.id, i.service_id, i.connectivity, s.tasks, row_number() OVER (ORDER BY i.id) - 1 AS number
FROM agents_instance i JOIN bench_service s ON s.id = i.service_id;
CREATE UNIQUE INDEX ON bench_instance (number);
ANALYZE bench_instance

-- step: controls
INSERT INTO tasks_app_taskcontrols (instance_id, controls, updated_at)
SELECT id, (
    SELECT jsonb_agg(jsonb_build_object('task_name', 'task-' || task, 'supported_commands',
        '["pause_task", "resume_task", "restart_task"]'::jsonb, 'paused', false, 'pause_requested', false,
        'accepting_new_work', true, 'runner_count', 1, 'parked_runner_count', 0, 'fetching_runner_count', 1,
        'inflight_task_count', 0)) FROM generate_series(0, tasks - 1) AS task), now()
FROM bench_instance WHERE connectivity = 'online'

-- step: snapshots
INSERT INTO tasks_app_appsnapshot (instance_id, app, updated_at)
SELECT id, jsonb_build_object('name', 'bench', 'tasks', '[]'::jsonb), now() FROM bench_instance

-- step: sessions
INSERT INTO agents_session (id, instance_id, service_id, replica_id, status, protocol_version, capabilities,
    accepted_capabilities, peer_address, runtime_hostname, connected_at, last_hello_at, last_message_at,
    disconnected_at, end_reason, created_at, updated_at)
SELECT gen_random_uuid(), i.id, i.service_id, (SELECT id FROM agents_replica ORDER BY id LIMIT 1),
    CASE WHEN drawn.number < (SELECT count(*) FROM bench_instance) AND i.connectivity = 'online' THEN 'active'
        ELSE 'disconnected' END, '1',
    '["telemetry.sync", "command.ping", "command.pause_task"]', '["telemetry.sync", "command.ping"]',
    '10.0.0.1', 'host', at, at, at,
    CASE WHEN drawn.number < (SELECT count(*) FROM bench_instance) AND i.connectivity = 'online' THEN NULL
        ELSE at + interval '1 hour' END, '', at, at
FROM (
    SELECT number, now() - power(random(), 2) * interval '30 days' AS at
    FROM generate_series(0, %(sessions)s - 1) AS number ORDER BY 2
) AS drawn JOIN bench_instance i ON i.number = drawn.number %% (SELECT count(*) FROM bench_instance)

-- step: commands
INSERT INTO agents_command (id, instance_id, service_id, kind, args, task_name, timeout_s, delivery_mode, deadline_at, status,
    ack_status, result, duration_ms, error_code, error_message, created_by_name, reason, source_surface,
    created_at, dispatched_at, acked_at, finished_at, updated_at)
SELECT gen_random_uuid(), i.id, i.service_id, CASE WHEN about THEN 'pause_task' ELSE 'ping' END,
    CASE WHEN about THEN '{"task_name": "task-0"}' ELSE '{}' END::jsonb,
    CASE WHEN about THEN 'task-0' ELSE '' END, 30, 'dispatch_now_only', at + interval '30 seconds',
    CASE WHEN dice < 0.9 THEN 'succeeded' WHEN dice < 0.95 THEN 'expired' ELSE 'failed' END, 'accepted', '{}',
    12, '', '', 'bench', 'of the bench', 'instance_detail', at, at, at, at, at
FROM (
    SELECT random() AS dice, random() < 0.3 AS about, now() - power(random(), 2) * interval '30 days' AS at,
        floor(%(instances)s * random()) AS place
    FROM generate_series(1, %(commands)s) ORDER BY 3
) AS drawn JOIN bench_instance i ON i.number = drawn.place

-- step: windows
INSERT INTO tasks_app_metricwindow (instance_id, service_id, task_name, window_id, window_started_at,
    window_ended_at, fetched, started, succeeded, retried, failed, dead_lettered, cancelled, timeouts, inflight,
    avg_duration_ms, p95_duration_ms, received_at)
SELECT i.id, i.service_id, 'task-' || floor(dice * i.tasks), 'window-' || drawn.number, at - interval '30 seconds', at,
    20, 20, 18, 1, 1, CASE WHEN dice < 0.3 THEN 1 ELSE 0 END, 0, 0, 1, 20 + 80 * dice, 60 + 300 * dice, at
FROM (
    SELECT number, random() AS dice, now() - power(random(), 2) * interval '7 days' AS at,
        floor(%(instances)s * random()) AS place
    FROM generate_series(1, %(windows)s) AS number ORDER BY 3
) AS drawn JOIN bench_instance i ON i.number = drawn.place

-- step: rollups
INSERT INTO tasks_app_workrollup (width_s, started_at, environment, shard, started, succeeded, retried, failed,
    dead_lettered, cancelled)
SELECT width, to_timestamp((ceil(extract(epoch FROM w.window_ended_at) / width)::bigint - 1) * width), s.environment,
    w.id %% 2, SUM(started), SUM(succeeded), SUM(retried), SUM(GREATEST(failed, dead_lettered)), SUM(dead_lettered),
    SUM(cancelled)
FROM tasks_app_metricwindow w JOIN agents_service s ON s.id = w.service_id, (VALUES (60), (3600)) AS widths (width)
WHERE width = 3600 OR w.window_ended_at > now() - interval '2 days'
GROUP BY 1, 2, 3, 4

-- step: events
INSERT INTO agents_event (event_id, kind, level, occurred_at, received_at, service_id, instance_id, command_id,
    task_name, actor, message, attempts, duration_ms, failure_kind, exception_type, traceback, meta)
SELECT 'bench-' || told.number, kind, CASE WHEN is_error THEN 'error' WHEN kind = 'task.retried' THEN 'warn'
        ELSE 'info' END, at, at, i.service_id, i.id, NULL,
    CASE WHEN kind LIKE 'task.%%' THEN 'task-' || floor(spread * i.tasks) ELSE '' END, '',
    CASE WHEN is_error OR kind = 'task.retried'
        THEN (ARRAY['connection refused by upstream', '数据库连接超时', 'invalid payload', 'disk quota exceeded',
            'rate limit of partner reached'])[1 + (told.number %% 5)] || ' (' || told.number || ')' ELSE '' END,
    0, CASE WHEN kind IN ('task.started', 'instance.online', 'instance.offline') THEN NULL
        ELSE (exp(3 + 2 * spread + 2 * random()))::bigint END,
    CASE WHEN is_error THEN 'error' ELSE '' END, CASE WHEN is_error THEN 'ValueError' ELSE '' END,
    CASE WHEN is_error THEN repeat('  File "worker.py", line 42, in handle' || chr(10), 12) ELSE '' END,
    '{"source": "every-0"}'
FROM (
    SELECT *, kind IN ('task.failed', 'task.dead_lettered') AS is_error FROM (
        SELECT number, at, spread, place,
            CASE WHEN dice < 0.46 THEN 'task.started' WHEN dice < 0.90 THEN 'task.succeeded'
                WHEN dice < 0.94 THEN 'task.retried' WHEN dice < 0.97 THEN 'task.failed'
                WHEN dice < 0.985 THEN 'task.dead_lettered' WHEN dice < 0.986 THEN 'task.cancelled'
                WHEN dice < 0.993 THEN 'instance.online' ELSE 'instance.offline' END AS kind
        FROM (
            SELECT number, random() AS dice, random() AS spread, floor(%(instances)s * random()) AS place,
                now() - power(random(), 2) * interval '30 days' AS at
            FROM generate_series(1, %(events)s) AS number ORDER BY 5
        ) AS drawn
    ) AS named
) AS told JOIN bench_instance i ON i.number = told.place
