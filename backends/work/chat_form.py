"""The form of a conversation: which template and which end tokens a tokenizer and a spec agree on."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from backends.serving.contract import CHAT, CONTEXT_QA, PLAIN_CHAT, STOP_TEXTS, Contract, first_in
from backends.work.base_model import settings_of
from llmspec.shelf import sha256_of

_GENERATION = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")


def contract_of(
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    base: Path | None,
    template: Literal["chat", "context_qa"],
    max_tokens: int,
    system_prompt: str | None,
) -> Contract:
    """`folder` holds the saved tokenizer, `base` the checkpoint it came from."""
    text = CONTEXT_QA if template == "context_qa" else CHAT if base is None else own_template(tokenizer) or PLAIN_CHAT
    if tokenizer.eos_token is None:
        raise ValueError("model.base: its tokenizer names no eos_token, so an answer could never end; choose another base")
    contract = Contract(
        template=text,
        bos_token=tokenizer.bos_token or "",
        eos_token=tokenizer.eos_token,
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        stop_ids=end_ids(tokenizer, base),
        stop_texts=STOP_TEXTS.get(text, []),
        vocab_size=len(tokenizer),
        tokenizer=sha256_of(folder / "tokenizer.json"),
        max_tokens=max_tokens,
        system_prompt=system_prompt,
    )
    if text not in STOP_TEXTS:
        check_as_transformers(contract, tokenizer)
    return with_turn_end(contract, tokenizer)


def own_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The base's own chat template. Its marks for what an assistant said render nothing, and are not plain Jinja."""
    if tokenizer.chat_template is None:
        return None
    own = tokenizer.get_chat_template()
    return _GENERATION.sub(lambda mark: f"{{%{mark[1]} {'endif' if mark[2] else 'if true'} {mark[3]}%}}", own)


def end_ids(tokenizer: PreTrainedTokenizerBase, base: Path | None) -> list[int]:
    """Every token that ends an answer: the tokenizer's, and those that the checkpoint says it stops at."""
    said = settings_of(base, "generation_config.json").get("eos_token_id") if base else None
    more = said if isinstance(said, list) else [] if said is None else [said]
    return sorted({tokenizer.eos_token_id, *more})


def check_as_transformers(contract: Contract, tokenizer: PreTrainedTokenizerBase) -> None:
    """What the base learned from is what transformers renders: ours must not differ by a character."""
    hello = {"role": "user", "content": 'How do I return "it"?'}
    talk = [hello, {"role": "assistant", "content": "Within <30> days."}, {"role": "user", "content": "Danke, und morgen — früh?"}]
    system = {"role": "system", "content": contract.system_prompt} if contract.system_prompt else None
    timeless = contract.template.replace("strftime_now", "no_clock_here")  # as in our rendering: no prompt has today's date
    for messages in ([hello], talk):
        ours = contract.render(messages)
        theirs: Any = tokenizer.apply_chat_template(
            [system, *messages] if system else messages, chat_template=timeless, tokenize=False, add_generation_prompt=True
        )
        if ours != theirs:
            raise ValueError(
                f"model.base: its chat template renders otherwise here ({ours!r}) than in transformers ({theirs!r}); "
                "use `data: {template: context_qa}`, or give the tokenizer a plainer chat_template"
            )


def _ends(contract: Contract, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [str(tokenizer.convert_ids_to_tokens(number)) for number in contract.stop_ids]


def with_turn_end(contract: Contract, tokenizer: PreTrainedTokenizerBase) -> Contract:
    """The special token that this form ends a turn with ends an answer too, also when the checkpoint does not say so."""
    special = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    turn_end = first_in(contract.ending, list(special))
    if turn_end is None or first_in(contract.ending, _ends(contract, tokenizer)):
        return contract
    return replace(contract, stop_ids=sorted({*contract.stop_ids, special[turn_end]}))


def ending_of(contract: Contract, tokenizer: PreTrainedTokenizerBase) -> str:
    """What is learned after each answer."""
    return contract.learned_ending(_ends(contract, tokenizer))
