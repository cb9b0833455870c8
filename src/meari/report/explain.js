// The page reads without this: it adds the slider, which goes through the steps of a scene, and the ends beside it.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const korean = document.getElementById("in-ko");
  const english = document.getElementById("in-en");
  const spoken = () => (korean.checked ? "ko" : "en");
  const heard = () => { root.lang = spoken(); };
  english.addEventListener("change", heard);
  korean.addEventListener("change", heard);
  heard();

  class Scene {
    constructor(section) {
      this.section = section;
      this.rows = [...section.querySelectorAll(".steps > li")];
      this.moments = JSON.parse(section.querySelector("script").textContent);
      this.slider = section.querySelector("input[type=range]");
      this.count = section.querySelector("output");
      this.ends = section.querySelector(".ends");
      this.most = Math.max(1, ...this.moments.flatMap((m) => m.ends.flatMap((e) => [...e.client.slice(1), ...e.server.slice(1)])));
      this.slider.addEventListener("input", () => this.show(Number(this.slider.value), true));
      const [back, on] = section.querySelectorAll("button");
      back.addEventListener("click", () => this.move(-1));
      on.addEventListener("click", () => this.move(1));
      english.addEventListener("change", () => this.show(this.at));
      korean.addEventListener("change", () => this.show(this.at));
      this.show(this.rows.length);
    }

    move(by) {
      this.show(Math.min(Math.max(this.at + by, 1), this.rows.length), true);
    }

    // Up to the step number n, which is 1 for the first.
    show(n, scrolls) {
      this.at = n;
      this.slider.value = String(n);
      this.count.textContent = `${n} / ${this.rows.length}`;
      this.rows.forEach((row, i) => {
        row.classList.toggle("later", i >= n);
        row.classList.toggle("now", i === n - 1);
      });
      this.draw(this.moments[n - 1]);
      if (scrolls) this.rows[n - 1].scrollIntoView({ block: "nearest" });
    }

    draw(moment) {
      const words = this.section.dataset;
      const say = (key) => words[key + (spoken() === "ko" ? "Ko" : "En")];
      const lines = [];
      for (const connection of moment.ends) {
        for (const side of ["client", "server"]) {
          const [state, unread, unsent] = connection[side];
          const name = `${side === "client" && moment.ends.length > 1 ? connection.name : say(side)}: `;
          lines.push({ key: `${connection.name}/${side}`, text: name + (state || say("gone")), bars: [[unread, say("unread")], [unsent, say("unsent")]] });
        }
      }
      if (moment.queue) {
        lines.push({ key: "", text: "", bars: [] });
        lines.push({ key: "queue", text: `${say("queue")}: ${moment.queue[0]} / ${moment.queue[1].toLocaleString("en")}`, bars: [[moment.queue[0] && this.most / 4 * moment.queue[0], ""]] });
      }
      // What is there is kept, so that a bar moves to its new width.
      while (this.ends.children.length > lines.length) this.ends.lastChild.remove();
      lines.forEach((line, i) => {
        let cell = this.ends.children[i];
        if (!cell || cell.dataset.key !== line.key) {
          const made = document.createElement("div");
          made.className = "end";
          made.dataset.key = line.key;
          made.append(document.createElement("div"));
          for (const _ of line.bars) {
            const bar = document.createElement("div");
            bar.className = "bar";
            bar.append(document.createElement("span"), document.createElement("i"));
            made.append(bar);
          }
          if (cell) cell.replaceWith(made); else this.ends.append(made);
          cell = made;
        }
        cell.firstChild.textContent = line.text;
        line.bars.forEach(([size, label], k) => {
          const bar = cell.children[k + 1];
          bar.firstChild.style.width = `${45 * Math.sqrt(size / this.most)}%`;
          bar.lastChild.textContent = size && label ? label.replace("{n}", size.toLocaleString("en")) : "";
        });
      });
    }
  }

  const scenes = [...document.querySelectorAll("section")].map((section) => new Scene(section));

  // The scene that the reader looks at: the one under the middle of the window.
  const current = () => {
    const middle = window.innerHeight / 2;
    return scenes.find((scene) => scene.section.getBoundingClientRect().bottom > middle) || scenes[scenes.length - 1];
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement) return;
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      current().move(event.key === "ArrowRight" ? 1 : -1);
      event.preventDefault();
    } else if (event.key === "l" || event.key === "L") {
      (korean.checked ? english : korean).click();
    }
  });
})();
