"""Run the code blocks of the pages that ``tests/system/test_docs.py`` does not run."""

import pytest
from doc_blocks import MAIN_PAGES, PAGES, check_page, page_param


@pytest.mark.parametrize("page", [page_param(page) for page in PAGES if page not in MAIN_PAGES])
def test_every_code_block_outside_the_main_pages_runs(page, in_tmp, clean_hydra):
    check_page(page, in_tmp)
