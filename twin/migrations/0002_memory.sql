-- When a frame was taken, in Unix seconds; NULL for frames of version 1, which did not note it.
ALTER TABLE frames ADD COLUMN at REAL;

CREATE INDEX frames_by_at ON frames (at);

CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    label TEXT NOT NULL UNIQUE
);

-- Which frames hold which object: found by id, by label and by time without reading records.
CREATE TABLE object_seen (
    seq INTEGER NOT NULL,
    object_id INTEGER NOT NULL,
    label_id INTEGER NOT NULL,
    at REAL,
    PRIMARY KEY (seq, object_id)
) WITHOUT ROWID;

CREATE INDEX object_seen_by_id ON object_seen (object_id, at);

CREATE INDEX object_seen_by_label ON object_seen (label_id, at);

-- One row per object of a run, from its first frame to its newest one.
CREATE TABLE object_lives (
    run INTEGER NOT NULL,
    object_id INTEGER NOT NULL,
    label_id INTEGER NOT NULL,
    first_at REAL,
    first_s REAL NOT NULL,
    last_at REAL,
    last_s REAL NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (run, object_id)
) WITHOUT ROWID;

CREATE INDEX object_lives_by_end ON object_lives (last_seq);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    record TEXT NOT NULL
);

-- What version 1 stored; a damaged record is left to the check, not to the migration.
CREATE TEMP TABLE older AS
SELECT
    frames.seq AS seq,
    frames.run AS run,
    frames.timestamp_s AS timestamp_s,
    CAST(object.key AS INTEGER) AS object_id,
    json_extract(object.value, '$.semantic_label') AS label
FROM
    frames,
    json_each(CASE WHEN json_valid(frames.record) THEN frames.record ELSE '{}' END, '$.objects')
        AS object
WHERE
    object.type = 'object'
    AND typeof(json_extract(object.value, '$.semantic_label')) = 'text';

INSERT OR IGNORE INTO labels (label) SELECT DISTINCT label FROM older;

INSERT OR IGNORE INTO object_seen (seq, object_id, label_id)
SELECT older.seq, older.object_id, labels.id FROM older JOIN labels ON labels.label = older.label;

-- Beside max(), the other columns come from the row that holds the maximum.
INSERT OR IGNORE INTO object_lives (run, object_id, label_id, first_s, last_s, last_seq)
SELECT
    older.run, older.object_id, labels.id, older.timestamp_s, older.timestamp_s, max(older.seq)
FROM older JOIN labels ON labels.label = older.label
GROUP BY older.run, older.object_id;

UPDATE object_lives SET first_s = first.timestamp_s
FROM (
    SELECT run, object_id, timestamp_s, min(seq) FROM older GROUP BY run, object_id
) AS first
WHERE first.run = object_lives.run AND first.object_id = object_lives.object_id;

DROP TABLE older;

DROP VIEW objects;

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
    json_extract(object.value, '$.mean_depth') AS mean_depth,
    frames.at AS at
FROM frames, json_each(frames.record, '$.objects') AS object;
