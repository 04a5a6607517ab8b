// Where a person types the endpoint's key.

import { find } from "./dom.js";
import { key } from "./endpoint.js";

export class KeyDialog {
  #dialog = find("key-dialog");
  #then = () => {};

  /** `changed` is called when there is another key, or none. */
  constructor(changed) {
    find("key-cancel").addEventListener("click", () => this.#dialog.close());
    find("key-forget").addEventListener("click", () => this.#use("", changed));
    find("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use(find("key").value.trim(), changed);
    });
  }

  #use(value, changed) {
    key.set(value);
    this.#dialog.close();
    changed();
    if (value) this.#then();
  }

  get open() {
    return this.#dialog.open;
  }

  /** Ask for a key; `said` is what the endpoint said of the one it got. With another one, `then` goes on. */
  ask(said, then) {
    this.#then = then;
    find("key-error").textContent = key.get() ? said : "";
    find("key-error").hidden = !key.get() || !said;
    find("key-forget").hidden = !key.get();
    find("key-open").hidden = false;
    find("key").value = "";
    if (!this.open) this.#dialog.showModal();
  }
}
