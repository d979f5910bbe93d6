// Signing in: the token goes to the server once and comes back as a cookie that scripts cannot read.

import { call } from "./api.js";
import { byId, setText } from "./dom.js";

export class Login {
  // entered() after a token was taken.
  constructor(entered) {
    this.entered = entered;
    this.dialog = byId("login");
    this.dialog.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it
    byId("login-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter();
    });
    byId("logout").addEventListener("click", () => this.#leave());
  }

  ask() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  async #enter() {
    const field = byId("token");
    setText(byId("login-problem"), "");
    byId("login-sure").disabled = true;
    try {
      await call("POST", "api/login", { token: field.value });
      this.dialog.close();
      byId("logout").hidden = false;
      this.entered();
    } catch (error) {
      setText(byId("login-problem"), error.status === 401 ? "This token is not the right one." : error.message);
      field.focus();
    } finally {
      field.value = "";
      byId("login-sure").disabled = false;
    }
  }

  async #leave() {
    await call("DELETE", "api/login").catch(() => {}); // the page is left in any case
    location.reload();
  }
}
