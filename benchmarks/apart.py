"""A function in a process of its own."""

import multiprocessing


def apart(function, *arguments, **settings):
    """**Returns:** what `function(*arguments, **settings)` returns in a fresh Python, which ends with the call.

    The peak memory of a process begins with that of the one that starts it, so those whose memory is measured should
    not be started from one that has measured others. All that is passed must pickle.

    **Raises:** `RuntimeError` with the message of whatever the function raised.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(theirs, function, arguments, settings))
    process.start()
    theirs.close()
    try:
        ok, result = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__} ended its process with status {process.exitcode}") from None
    finally:
        process.terminate()
        process.join()
    if not ok:
        raise result
    return result


def _call(pipe, function, arguments, settings):
    try:
        pipe.send((True, function(*arguments, **settings)))
    except Exception as error:
        pipe.send((False, RuntimeError(f"{type(error).__name__}: {error}")))
