"""TensorBoard: events in the folder of the run."""

import logging
import time


class TensorBoard:
    """A file of events below `tensorboard/`, which from the run's first step on forgets what earlier files there say.

    Written at once and not in a thread, as `SummaryWriter` does: one that dies of a full disk leaves the run waiting.
    """

    @staticmethod
    def check():
        """tensorboardX is always there."""

    def __init__(self, run):
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto.event_pb2 import SessionLog

        # It warns of every value that is not finite; that a run diverges is ours to say.
        logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
        folder = run.directory / "tensorboard"
        folder.mkdir(exist_ok=True)
        self._summary = summary
        # TensorBoard reads files by name, which goes on with the second they were opened in: clocks may go back.
        self._file = event_file_writer.EventsWriter(str(folder / f"events.{run.resume_epoch:06d}"))
        self._write(run.first_step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, values, step):
        for name, value in values.items():
            self._write(step, summary=self._summary.scalar(name, value))
        self._file.flush()

    def image(self, name, pixels, step):
        self._write(step, summary=self._summary.image(name, pixels, dataformats="HWC"))
        self._file.flush()

    def summary(self, values, step):
        self.scalars({name: value for name, value in values.items() if isinstance(value, float)}, step)

    def close(self):
        self._file.close()

    def _write(self, step, **what):
        from tensorboardX.proto.event_pb2 import Event

        self._file.write_event(Event(wall_time=time.time(), step=step, **what))
