"""Work in a background thread, looked after from the thread that owns the user interface."""

import threading


class Job:
    """Calls `work(progress, cancel)` in a thread of its own; `cancel` is a transunet.Cancel.

    The owner calls `poll` now and then (a timer, an event loop) until it answers True, then `result`.
    """

    def __init__(self, work, cancel):
        self._cancel = cancel
        self._news = threading.Event()
        self._progress = None
        self._value = None
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="TransUNet")
        self._thread.start()

    def _run(self, work):
        try:
            self._value = work(self._tell, self._cancel)
        except BaseException as error:  # given to the owner, who raises it again
            self._error = error
        self._news.set()

    def _tell(self, progress):
        self._progress = progress
        self._news.set()
        return True

    @property
    def progress(self):
        """The latest event, or None."""
        return self._progress

    def cancel(self):
        self._cancel.trigger()

    def poll(self, wait=0.0):
        """True once the work has ended. Waits for news for at most `wait` seconds.

        Slicer's main thread may keep Python's lock while it waits for events; a short wait here lets the worker report.
        """
        self._news.wait(wait)
        self._news.clear()
        return not self._thread.is_alive()

    def result(self):
        """What the work returned; raises what it raised. Waits for its end."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value
