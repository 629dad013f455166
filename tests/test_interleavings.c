/* One certain interleaving each: what a program does between two steps of a
 * collection beside it, or of the protocols under it, at the library's yield
 * points. Most are the trails of the models' broken variants, which are in the
 * code as faults where a build has them: named on the command line, one of
 * them is on, and its test has to fail. docs/design/models.md */
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "interleavings/interleavings.h"
#include "interleavings/script.h"

#if GYRE_FAULT == FAULT_CHOSEN
static const struct variant {
    const char *name;
    enum fault fault;
    const char *test;
} variants[] = {
    {"none", (enum fault)0, "test_*"},
    {"rescue", FAULT_RESCUE,
     "test_what_leaves_a_slot_before_it_is_followed_lives"},
    {"flags_first", FAULT_FLAGS_FIRST,
     "test_object_that_names_itself_for_a_pass_lives"},
    {"move_untouched", FAULT_MOVE_UNTOUCHED,
     "test_object_that_names_itself_by_exchange_for_a_pass_lives"},
    {"no_touch", FAULT_NO_TOUCH,
     "test_object_that_names_itself_for_a_pass_lives"},
    {"drop_part", FAULT_DROP_PART,
     "test_member_taken_from_one_named_before_the_lock_lives"},
    {"second_pass", FAULT_SECOND_PASS,
     "test_member_taken_after_the_proof_belongs_to_its_component_still"},
    {"flags_once", FAULT_FLAGS_ONCE,
     "test_member_named_before_the_lock_keeps_its_component"},
    {"weak_blind", FAULT_WEAK_BLIND, "test_weak_get_of_the_dying_answers_null"},
    {"weak_no_lock", FAULT_WEAK_NO_LOCK,
     "test_weak_get_waits_while_members_are_given_up"},
    {"get_plainly", FAULT_GET_PLAINLY,
     "test_weak_get_that_waited_for_the_lock_does_not_find_the_dead"},
    {"no_stop_again", FAULT_NO_STOP_AGAIN,
     "test_members_are_armed_again_between_no_touch_and_its_write"},
    {"old_proof", FAULT_OLD_PROOF,
     "test_member_named_while_finalizers_run_lives_with_the_rest"},
    {"finalized_first", FAULT_FINALIZED_FIRST,
     "test_member_named_before_its_finalizer_runs_lives_with_the_rest"},
    {"announce_first", FAULT_ANNOUNCE_FIRST,
     "test_queue_is_drained_before_its_owner_answers"},
    {"release_blindly", FAULT_RELEASE_BLINDLY,
     "test_entry_pushed_under_a_claim_is_merged_by_the_claimant"},
    {"waiter_runs", FAULT_WAITER_RUNS,
     "test_world_stops_while_a_thread_waits_for_a_lock"},
};

/* Exit status 2: no such variant. */
static void
choose(int argc, char **argv)
{
    size_t i = 0, count = sizeof variants / sizeof variants[0];
    if (argc == 1)
        return;
    while (i < count && strcmp(variants[i].name, argv[1]) != 0)
        i++;
    if (i == count)
        exit(2);
    gyre_fault_chosen = (int)variants[i].fault;
    cmocka_set_test_filter(variants[i].test);
    /* What went wrong may keep the teardown from ending. */
    setenv("CMOCKA_TEST_ABORT", "1", 1);
}
#else
static void
choose(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        exit(2);
}
#endif

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, script_setup, script_teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_member_named_after_its_slots_were_read_lives),
        TEST(test_reference_moved_after_its_slot_was_read_keeps_what_it_names),
        TEST(test_reference_that_is_away_for_a_pass_keeps_what_it_names),
        TEST(test_object_that_names_itself_for_a_pass_lives),
        TEST(test_object_that_names_itself_by_exchange_for_a_pass_lives),
        TEST(test_what_leaves_a_slot_before_it_is_followed_lives),
        TEST(test_member_named_while_finalizers_run_lives_with_the_rest),
        TEST(test_members_are_armed_again_between_no_touch_and_its_write),
        TEST(test_member_named_before_its_finalizer_runs_lives_with_the_rest),
        TEST(test_member_that_dies_before_finalizers_run_is_finalized_once),
        TEST(test_member_may_die_before_it_is_asked_for_its_finalizer),
        TEST(test_member_named_before_the_lock_keeps_its_component),
        TEST(test_member_taken_from_one_named_before_the_lock_lives),
        TEST(test_member_taken_after_the_proof_belongs_to_its_component_still),
        TEST(test_member_may_die_before_it_is_asked_whether_it_is_to_be_saved),
        TEST(test_member_named_before_it_is_saved_is_no_garbage),
        TEST(test_weak_get_of_the_dying_answers_null),
        TEST(test_weak_get_that_waited_for_the_lock_does_not_find_the_dead),
        TEST(test_weak_get_waits_while_members_are_given_up),
        TEST(test_set_that_weak_gets_keep_touching_is_collected),
        TEST(test_set_that_is_closed_is_finalized_once),
        TEST(test_set_that_is_closed_can_be_brought_back),
        TEST(test_weak_get_of_a_closed_set_finds_nothing),
        TEST(test_weak_get_of_what_was_closed_in_vain_finds_it),
        TEST(test_free_segments_may_go_while_they_are_walked_over),
        TEST(test_queue_is_drained_before_its_owner_answers),
        TEST(test_entry_pushed_under_a_claim_is_merged_by_the_claimant),
        TEST(test_world_stops_while_a_thread_waits_for_a_lock),
    };
    choose(argc, argv);
    return cmocka_run_group_tests_name("interleavings", tests, NULL, NULL);
}
