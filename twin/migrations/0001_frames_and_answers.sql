PRAGMA application_id = 1162105943;

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- One row is one whole frame, so a frame is never stored in part.
CREATE TABLE frames (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    source_id TEXT NOT NULL,
    frame_index INTEGER NOT NULL,
    timestamp_s REAL NOT NULL,
    record TEXT NOT NULL
);

CREATE INDEX frames_by_run ON frames (run, seq);

CREATE TABLE answers (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    frame_seq INTEGER,
    record TEXT NOT NULL
);

-- For people with a SQL shell: one row per object and frame.
CREATE VIEW objects AS
SELECT
    frames.seq AS frame_seq,
    frames.run AS run,
    frames.source_id AS source_id,
    frames.timestamp_s AS timestamp_s,
    CAST(object.key AS INTEGER) AS id,
    json_extract(object.value, '$.semantic_label') AS semantic_label,
    json_extract(object.value, '$.state') AS state,
    json_extract(object.value, '$.confidence') AS confidence,
    json_extract(object.value, '$.area') AS area,
    json_extract(object.value, '$.centroid[0]') AS x,
    json_extract(object.value, '$.centroid[1]') AS y,
    json_extract(object.value, '$.mean_depth') AS mean_depth
FROM frames, json_each(frames.record, '$.objects') AS object;
