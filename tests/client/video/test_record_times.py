"""When a frame of a live source came, in the lines of `stream --jsonl`; and frames that are analysed smaller."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parsing_rcnn_client.video.live import Live, LiveSettings
from parsing_rcnn_client.video.records import JsonLines
from tests.client.video.test_live import until
from tests.client.video.test_live_records import BOXES, Sees, Walker


@pytest.mark.parametrize("camera", [True, False])
def test_lines_of_a_camera_say_when_and_those_of_a_file_do_not(tmp_path: Path, camera: bool) -> None:
    def opened() -> Walker:
        walker = Walker(live)
        walker.info = replace(walker.info, live=camera)
        return walker

    lines = JsonLines(tmp_path / "a.jsonl", live=True)
    live = Live(Sees(), LiveSettings(BOXES))
    begin = time.time()
    live.add("door", opened, endless=False, records=[lines])
    until(lambda: not live.running)
    live.close()
    lines.close()
    end = time.time()
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(records) > 6
    if not camera:
        assert all("at" not in record for record in records)
        return
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["at"]) for record in records)
    moments = [datetime.fromisoformat(record["at"]).astimezone(UTC).timestamp() for record in records]
    assert moments == sorted(moments)
    assert begin - 0.01 <= moments[0] <= moments[-1] <= end + 0.01
    # both clocks go alike: `time` runs since the start
    spans = moments[-1] - moments[0], records[-1]["time"] - records[0]["time"]
    assert spans[0] == pytest.approx(spans[1], abs=0.02)


def test_frames_are_analysed_at_the_size_that_is_asked_for() -> None:
    engine = Sees()
    live = Live(engine, LiveSettings(BOXES, max_side=48, region=(0, 0, 9, 9), tiles=2))
    live.add("door", lambda: Walker(live), endless=False)
    until(lambda: not live.running)
    live.close()
    assert {(own.max_side, own.region, own.tiles) for own in engine.options} == {(48, (0, 0, 9, 9), 2)}
