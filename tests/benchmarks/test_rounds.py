"""Who has a turn when, on clocks of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from benchmarks.rounds import Clocks, Plan, Rounds, Spread, play, turn, wait_until_at_rest


@dataclass
class Machine:
    """A processor whose runs take the time we say, and which is busy until `spins_until`."""

    now: float = 0.0
    used: float = 0.0
    spins_until: float = 0.0
    log: list[str] = field(default_factory=list)

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.used, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.used += max(0.0, min(self.now + seconds, self.spins_until) - self.now)
        self.now += seconds

    def run(self, name: str, seconds: float, spins: float = 0.0) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now += seconds
            self.used += seconds
            self.spins_until = self.now + spins

        return run


def test_quartiles() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(2.0, 3.0, 4.0)


def test_a_turn_has_a_run_that_is_not_timed_and_then_at_least_one() -> None:
    machine = Machine()
    assert turn(machine.run("slow", 2.0), 0.5, machine.clocks()) == 2.0
    assert len(machine.log) == 2
    assert turn(machine.run("fast", 0.125), 0.5, machine.clocks()) == 0.125
    assert machine.log.count("fast") == 5


def test_a_turn_waits_for_spinning_threads() -> None:
    machine = Machine()
    machine.run("spinning", 1.0, spins=0.1)()
    assert wait_until_at_rest(machine.clocks())
    assert machine.now == pytest.approx(1.105)


def test_waiting_has_a_limit() -> None:
    machine = Machine()
    machine.run("spinning", 1.0, spins=9.0)()
    assert not wait_until_at_rest(machine.clocks(), limit=0.3)
    assert machine.now == pytest.approx(1.3, abs=0.006)


def test_everyone_has_a_turn_in_every_round_and_another_begins() -> None:
    machine = Machine()
    contenders = {name: machine.run(name, 1.0) for name in "abc"}
    rounds = play(contenders, Plan(turn=0.5, seconds=100.0, least=1, most=3), machine.clocks())
    assert "".join(machine.log[::2]) == "abcbcacab"
    assert rounds.turns == {name: [1.0] * 3 for name in "abc"}
    assert rounds.restless == 0


def test_a_slow_model_has_fewer_rounds_but_not_too_few() -> None:
    machine = Machine()
    rounds = play({"a": machine.run("a", 9.0)}, Plan(turn=0.5, seconds=5.0, least=2, most=9), machine.clocks())
    assert len(rounds.turns["a"]) == 2
    very_slow = play({"a": machine.run("a", 9.0)}, Plan(turn=0.5, seconds=5.0, least=5, most=9), machine.clocks())
    assert len(very_slow.turns["a"]) == 2


def test_turns_that_begin_too_early_are_counted() -> None:
    machine = Machine()
    plan = Plan(turn=0.5, seconds=100.0, least=2, most=2)
    assert play({"a": machine.run("a", 1.0, spins=9.0)}, plan, machine.clocks()).restless == 1


def test_ratios_are_taken_within_rounds() -> None:
    rounds = Rounds({"ours": [1.0, 10.0, 100.0], "theirs": [2.0, 20.0, 200.0]})
    assert rounds.ratio("theirs", "ours") == Spread(2.0, 2.0, 2.0)
    assert rounds.medians() == {"ours": 10.0, "theirs": 20.0}
