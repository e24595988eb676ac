"""Tasks that are cancelled as they end by themselves do not take their owner with them."""

import random
import threading
import time

import pytest

from tests.support.cluster import wait_for_free_cpus

pytestmark = [pytest.mark.ray, pytest.mark.matrix]

THREADS, TASKS = 8, 500


def test_a_cancel_that_meets_the_end_of_its_task_does_not_end_the_owner(on_ray, ray_session):
    ray = ray_session

    @ray.remote(num_cpus=1, max_retries=0)
    def ends_soon(seconds):
        time.sleep(seconds)

    @ray.remote(num_cpus=0)
    class Other:
        def cancel_tasks(self, refs):
            from actors.reaper import cancel_tasks

            cancel_tasks(refs)

    @ray.remote(num_cpus=0)
    class Owner:
        def run(self, other):
            from actors.reaper import Reaper

            reaper, ended = Reaper(other), []

            def submit_and_cancel(seed):
                chance = random.Random(seed)
                for _ in range(TASKS):
                    task = ends_soon.remote(chance.random() * 0.004)
                    time.sleep(0.0005 + chance.random() * 0.006)
                    reaper.cancel(task)
                    ended.extend(ray.wait([task], timeout=20, fetch_local=False)[0])

            threads = [
                threading.Thread(target=submit_and_cancel, args=(i,)) for i in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return len(ended)

    other = Other.remote()
    owner = Owner.remote()
    assert ray.get(owner.run.remote(other)) == THREADS * TASKS  # ActorDiedError: it was aborted
    ray.kill(owner)
    ray.kill(other)
    wait_for_free_cpus()
