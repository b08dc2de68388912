"""What is handed to torch's compiler."""

from pyrometer.inference.svi.compiled.build import _with_own_code


def closing_over(more):
    def add(x):
        return x + more

    return add


def test_each_compiled_function_has_code_of_its_own():
    """Torch counts the compilations of one code object, and refuses the ninth of a process."""
    one, other = closing_over(1), closing_over(2)
    assert one.__code__ is other.__code__
    first, second = _with_own_code(one), _with_own_code(other)
    assert len({id(one.__code__), id(first.__code__), id(second.__code__)}) == 3
    assert (first(5), second(5)) == (6, 7)
