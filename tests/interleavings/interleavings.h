/* The tests of this folder; test_interleavings.c runs them. */
#ifndef GYRE_TESTS_INTERLEAVINGS_H
#define GYRE_TESTS_INTERLEAVINGS_H

/* proof.c */
void test_member_named_after_its_slots_were_read_lives(void **state);
void test_reference_moved_after_its_slot_was_read_keeps_what_it_names(
    void **state);
void test_reference_that_is_away_for_a_pass_keeps_what_it_names(void **state);
void test_object_that_names_itself_for_a_pass_lives(void **state);
void test_object_that_names_itself_by_exchange_for_a_pass_lives(void **state);
void test_what_leaves_a_slot_before_it_is_followed_lives(void **state);
void test_member_named_while_finalizers_run_lives_with_the_rest(void **state);
void test_members_are_armed_again_between_no_touch_and_its_write(void **state);

/* surrender.c */
void test_member_named_before_its_finalizer_runs_lives_with_the_rest(
    void **state);
void test_member_that_dies_before_finalizers_run_is_finalized_once(
    void **state);
void test_member_may_die_before_it_is_asked_for_its_finalizer(void **state);
void test_member_named_before_the_lock_keeps_its_component(void **state);
void test_member_taken_from_one_named_before_the_lock_lives(void **state);
void test_member_taken_after_the_proof_belongs_to_its_component_still(
    void **state);
void test_member_may_die_before_it_is_asked_whether_it_is_to_be_saved(
    void **state);
void test_member_named_before_it_is_saved_is_no_garbage(void **state);
void test_weak_get_of_the_dying_answers_null(void **state);
void test_weak_get_that_waited_for_the_lock_does_not_find_the_dead(
    void **state);
void test_weak_get_waits_while_members_are_given_up(void **state);

/* closed.c */
void test_set_that_weak_gets_keep_touching_is_collected(void **state);
void test_set_that_is_closed_is_finalized_once(void **state);
void test_set_that_is_closed_can_be_brought_back(void **state);
void test_weak_get_of_a_closed_set_finds_nothing(void **state);
void test_weak_get_of_what_was_closed_in_vain_finds_it(void **state);

/* segments.c */
void test_free_segments_may_go_while_they_are_walked_over(void **state);

/* waiting.c */
void test_queue_is_drained_before_its_owner_answers(void **state);
void test_entry_pushed_under_a_claim_is_merged_by_the_claimant(void **state);
void test_world_stops_while_a_thread_waits_for_a_lock(void **state);

#endif
