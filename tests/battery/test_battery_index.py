"""The correctness battery: what an implicit layer must get right, and the test that holds it.

| item | tests |
| --- | --- |
| gradient = dense solve = deep unrolling | test_gradient_is_that_of_a_dense_solve, test_gradient_is_that_of_a_deep_unrolling, test_implicit_gradient_matches_deep_unrolling |
| the same as another library's | test_first_derivatives_are_those_of_torchdeq |
| first and second derivatives | test_gradcheck, test_gradgradcheck, test_second_derivatives_are_those_of_deep_unrolling, test_a_hessian_vector_product_that_torchdeq_gets_wrong, test_derivatives_beyond_the_order_are_refused |
| truncated gradients are finite series | test_truncated_gradient_is_its_finite_series, test_phantom_gradient_is_its_damped_series, test_neumann_gradient_is_its_finite_series |
| the Jacobian-free gradient differs | test_the_jacobian_free_gradient_is_another_in_the_same_half_space |
| no sample sees its mates | test_a_sample_does_not_see_its_batch_mates, test_gradients_of_a_batch_are_those_of_its_samples_alone, test_narrowed_solve_equals_the_whole_one_and_solves_alone |
| a permuted batch is a permuted result | test_a_permuted_batch_gives_the_permuted_result |
| scale invariance | test_iterates_scale_with_the_problem, test_calls_to_an_error_on_a_slow_map_of_any_scale, test_the_adjoint_does_not_depend_on_the_scale_of_the_loss |
| acceleration is no slower than none | test_acceleration_by_default_is_no_slower_than_plain_iteration |
| NaN in one sample | test_a_nan_harms_no_other_and_its_sample_keeps_its_best_iterate, test_a_failed_sample_leaves_all_gradients_as_without_it, test_a_failed_sample_leaves_all_second_derivatives_as_without_it |
| calls of G and products are counted | test_calls_of_g_and_products_are_those_that_are_counted, test_counts_are_the_calls_of_g, test_number_of_tracked_calls, test_evaluation_costs_no_call_beyond_those_of_the_solver |
| the returned state is the converged one | test_the_returned_state_is_the_converged_one, test_a_short_budget_returns_what_it_bought |
| two processes = one | test_two_processes_are_one, test_two_processes_share_one_run_directory_and_give_the_numbers_of_one |
| half precision | test_true_low_precision, test_autocast, test_lightning_trains_in_any_precision |
| batch statistics and fresh masks refused | test_modules_that_change_from_call_to_call_are_refused_in_g |
| unconverged backward solve reported | test_a_backward_solve_that_does_not_converge_is_reported, test_a_diverging_adjoint_gives_no_gradient_and_says_so, test_a_second_solve_that_does_not_converge_is_reported |
| unknown keys refused | test_mistake_on_the_command_line_is_one_line, test_mistake_in_a_config_is_one_line |
| one graph for torch.compile | test_steps_and_g_are_single_graphs_that_give_the_same_numbers |
"""  # noqa: E501

import re
from pathlib import Path


def test_every_test_of_the_index_exists():
    files = Path(__file__).parents[1].rglob("test_*.py")
    known = set(re.findall(r"def (test_\w+)\(", "\n".join(file.read_text() for file in files)))
    named = set(re.findall(r"\btest_\w+", __doc__))
    assert len(named) > 30
    assert not named - known
