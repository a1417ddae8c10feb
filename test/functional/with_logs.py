"""What is otherwise when each topic has a log (DURABILITY in the environment), and why.

The whole functional suite is run with it, as topics with logs must do what all others do. Tests
that are about something else are left out: each entry has the beginning of their names, behind the
file's. An entry that fits no test is an error (conftest.py).
"""

DISK_QUEUE = 'is about the files of a disk queue'
THREAD = 'to publish by HTTP needs a thread, since it waits for the disk'
WOKEN = 'the thread of a log wakes pumps, which may get a thread for that'
DESCRIPTORS = 'a topic with a log has more descriptors, which the test counts'
RECORDS = 'a record of a log has 56 bytes beside its body, and the test counts 30'
MEMORY = 'a log and its cursors take memory of their own'
WRITER = 'the thread of the log, which syncs for all, hands messages to the pump'
DELAY = 'a delay is still one after a restart'
FOUND = 'what waits in a log is found by its id'

OTHERWISE = {
    'test_bad_input.py': {
        'test_thousands_of_random_commands_do_no_harm': DESCRIPTORS,
    },
    'test_client_pollers.py': {
        'test_idle_topics_take_little_memory': MEMORY,
        'test_rdy_0_gets_nothing': WOKEN,
    },
    'test_command_line.py': {
        'test_depths_are_those_that_the_next_start_shows': DISK_QUEUE,
    },
    'test_drain.py': {
        'test_the_timeout_ends_it_with_nothing_lost[0-deferred_for_long]': DELAY,
        'test_the_timeout_ends_it_with_nothing_lost[10000-deferred_for_long]': DELAY,
    },
    'test_flags.py': {
        'test_max_bytes_per_file': DISK_QUEUE,
        'test_sync_every': DISK_QUEUE,
        'test_sync_timeout': DISK_QUEUE,
    },
    'test_http_limits.py': {
        'test_nobody_is_locked_out_by_connections_that_do_little': DESCRIPTORS,
    },
    'test_http_pollers.py': {
        'test_a_drip_costs_no_thread_and_delays_nobody': THREAD,
        'test_a_long_body_is_read_without_a_thread': THREAD,
        'test_a_thousand_connections_cost_no_thread': THREAD,
        'test_a_message_wakes_no_pump': WRITER,
        'test_an_operator_may_help_without_a_thread': THREAD,
        'test_ping_and_pub_go_on_without_threads': THREAD,
    },
    'test_inspect.py': {
        'test_damage_is_skipped_as_the_reader_does': DISK_QUEUE,
        'test_looking_on_over_files_that_end': DISK_QUEUE,
        'test_what_is_on_disk_stays_there': FOUND,
    },
    'test_limits.py': {
        'test_disk_of_the_host_and_the_part_of_topics_with_limits_of_their_own': RECORDS,
    },
    'test_metrics.py': {
        'test_bad_files_are_counted': DISK_QUEUE,
        'test_the_disk_is_described': DISK_QUEUE,
    },
    'test_settings_states.py': {
        'test_after_a_restart_nothing_waits_for_a_backoff': DELAY,
    },
}


def reason(file, name):
    """Why this test is left out, or None. The entry, too."""
    for beginning, why in OTHERWISE.get(file, {}).items():
        if name.startswith(beginning):
            return why, beginning
    return None, None
